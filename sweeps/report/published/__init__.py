"""Published figures, and what marks how a sweep stands to them."""
