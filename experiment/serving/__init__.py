"""A cell's victim behind the gate, as the command `serve` runs it."""
