"""What a share that was observed says of the share that is."""

from __future__ import annotations

from scipy.special import betaincinv


def share_interval(hits: float, samples: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper and Pearson 1934).

    Args:
        hits: How many of the samples have it; a fraction stands between the whole numbers about it.
        samples: Independent samples, at least 1.
    """
    low = float(betaincinv(hits, samples - hits + 1, 0.025)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, samples - hits, 0.975)) if hits < samples else 1.0
    return low, high
