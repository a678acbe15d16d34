"""Harness of the tests: a real PostgreSQL, the real pooler, PgBouncer beside it, raw protocol messages."""
