"""Small gates, over HTTP and killed, and their ledgers."""
