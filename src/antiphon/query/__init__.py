"""Room `query`."""
