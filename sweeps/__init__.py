"""Many cells: planned, launched, watched and reported."""
