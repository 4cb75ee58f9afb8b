"""How an attacker answers a toll: the ways to ask the same queries, and the cheapest of them."""
