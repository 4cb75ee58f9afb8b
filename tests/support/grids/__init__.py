"""Small sweeps, the attacks that disturb them, a cluster, and finished cells."""
