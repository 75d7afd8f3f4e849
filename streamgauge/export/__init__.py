"""Flows for collectors of other makers: rows of batches become flow records of IPFIX."""
