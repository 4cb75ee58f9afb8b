"""The model behind the gate: tried first, asked in batches, watched, and what its load means for prices."""
