"""Room `replica` (imports all below it): one open file with everything in it, joined."""
