"""Grafana's dashboards as code: ``python -m grafana.generate`` writes the JSON that Grafana is given."""
