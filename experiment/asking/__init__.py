"""How an attack asks its victim: in this process or over HTTP, with every answer on record."""
