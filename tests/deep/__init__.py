"""Long searches for bytes that the decoder mistakes: `make test-deep` runs them, `make test` does not."""
