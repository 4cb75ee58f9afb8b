"""The side that is stolen from."""
