"""Cells of a grid: composed from the config, kept in a store, priced, written, reported."""
