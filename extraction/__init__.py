"""The attacker's side: it sees an oracle and its own images, and nothing else of the victim."""
