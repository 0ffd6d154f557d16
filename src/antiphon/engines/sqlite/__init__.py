"""Room `engines`."""
