"""Room `serve`."""
