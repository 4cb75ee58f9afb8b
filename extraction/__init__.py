"""The side that steals: it sees an oracle, its own images, and nothing else of the victim."""
