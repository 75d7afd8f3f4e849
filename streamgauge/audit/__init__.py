"""The audit: proves that what collectors published is stored, or waits in JetStream, or is a named loss.

    report = await take(store, bus, Window(since, until))

Reads names, footers and ledger records only; ``deep`` reads every object whole.
"""

from streamgauge.audit.model import Account, Finding, Report, Window
from streamgauge.audit.run import take

__all__ = ["Account", "Finding", "Report", "Window", "take"]
