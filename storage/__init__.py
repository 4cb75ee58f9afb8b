"""Where results are kept: the store, locks, atomic files, provenance, and checks of options."""
