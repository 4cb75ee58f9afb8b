"""What the gate needs of the web: connections, bodies, turns, logs, counts and its document."""
