"""What a cell trains or measures once and keeps in the store: a file an artifact."""
