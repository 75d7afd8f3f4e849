"""The backup: from the stream to Parquet objects, each summary exactly once."""
