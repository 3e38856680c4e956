"""Signals in PostgreSQL: numbered, recorded and read."""
