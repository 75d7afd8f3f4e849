"""The demo: the whole system on one machine, on real packets, ending with an audit of what was captured and stored."""
