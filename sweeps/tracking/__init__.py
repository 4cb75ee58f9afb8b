"""What of a whole sweep is told to Weights & Biases: a summary, a workspace, and what did not arrive."""
