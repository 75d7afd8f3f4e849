"""The backup: from the stream to Parquet objects, each summary exactly once."""

import os

# Arrow's allocator gives memory back to the system at once, and between two objects it is needed again: a fifth of the
# processor time. Ten seconds are enough to keep it while there is work. It is read when Arrow is loaded, after this.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "10000")
