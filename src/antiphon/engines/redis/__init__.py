"""Room `engines` (imports all below it): Redis and Valkey: rows that are read often, presence, live events."""
