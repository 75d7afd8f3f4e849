"""The same walk in a cluster: first what keeps pods from running, then the parts' own pages through the API server."""

from streamgauge.doctor.kubernetes.walk import examine

__all__ = ["examine"]
