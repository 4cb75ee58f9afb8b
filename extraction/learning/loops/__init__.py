"""What Lightning trains for attacks: imported only by a run of an attack, since Lightning takes seconds."""
