"""Ledgers keep what a gate must not forget, in SQLite or in Redis."""
