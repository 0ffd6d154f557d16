"""Room `identity`."""
