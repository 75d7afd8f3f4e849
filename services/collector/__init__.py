"""The collector: empties the packet ring, decodes, and hands summaries to NATS; everything else may wait."""
