"""Room `world`."""
