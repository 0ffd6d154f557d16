"""Room `engines` (imports all below it): PostgreSQL, with TimescaleDB, pgvector and pg_cron where a server has them."""
