"""Room `domains`."""
