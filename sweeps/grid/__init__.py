"""From the grid that Hydra gives to cells and the units in which they are run."""
