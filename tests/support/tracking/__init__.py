"""What tests of loggers share: a cell that is followed, a user of Weights & Biases, a stub of its server."""
