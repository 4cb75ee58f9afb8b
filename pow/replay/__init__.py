"""A recorded trace under a calibration: what it would have cost."""
