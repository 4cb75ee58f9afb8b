"""The victim's side: data sets, networks, defenses, privacy measures, and the oracle that answers."""
