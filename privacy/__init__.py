"""Privacy costs: they say, as a number, how much an answer reveals."""
