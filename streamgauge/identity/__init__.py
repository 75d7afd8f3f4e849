"""Which address was which pod, service or node, and from when to when.

``events``: what is published on ``identity.v1.<cluster>`` and stored below ``identity/v1/``. ``bindings`` folds stored
events into one line a binding. ``table`` tells, for whole batches, who had an address at the time of a packet.
"""
