"""Durations, as people say them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
