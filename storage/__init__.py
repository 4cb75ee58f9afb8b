"""Where results lie: the store and its locks, atomic files, provenance, and objects made of options."""
