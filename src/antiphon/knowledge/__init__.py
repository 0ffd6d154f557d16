"""Room `knowledge`."""
