"""What a gate must not forget, kept by SQLite or by Redis."""
