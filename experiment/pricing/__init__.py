"""From a trace to what it costs: the calibration of a victim, the curve, and bills."""
