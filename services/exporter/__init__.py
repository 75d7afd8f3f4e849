"""The exporter: from the stream of summaries to Prometheus metrics and the live page."""
