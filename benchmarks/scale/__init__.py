"""How much one NATS, one backup shard and one exporter take, with hundreds of synthetic nodes: docs/83-scale.md."""
