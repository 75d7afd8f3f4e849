"""Named queries over tens of millions of stored rows, beside tshark."""
