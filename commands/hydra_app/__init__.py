"""Subcommands that Hydra composes a config for: how they are called, and what they say of wrong input."""
