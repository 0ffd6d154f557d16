"""Room `model`."""
