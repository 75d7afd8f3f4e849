"""Summaries for programs of one's own: ``streamgauge.subscribe``."""

from streamgauge.consumer.batch import Batch
from streamgauge.consumer.gaps import Gap, Reason
from streamgauge.consumer.subscription import Since, Subscription, subscribe

__all__ = ["Batch", "Gap", "Reason", "Since", "Subscription", "subscribe"]
