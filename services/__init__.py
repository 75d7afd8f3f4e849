"""The three programs: collector, backup, exporter. They import from streamgauge, never from each other."""
