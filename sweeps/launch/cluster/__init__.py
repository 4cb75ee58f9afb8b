"""SLURM: what jobs ask for, how they are submitted, how they stand, and why they ended."""
