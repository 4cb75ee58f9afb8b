"""One cell of a grid, from its config to its curve."""
