"""Room `views`."""
