"""streamgauge: network-traffic monitoring for Kubernetes that accounts for every packet."""

__version__ = "0.1.0"
