"""Whether a model answers probabilities: logits in their place would be charged as if they told nothing."""

from __future__ import annotations

import numpy as np

TOLERANCE = 0.01
"""How far a row's sum may be from 1, and a value outside [0, 1]: half precision rounds by less."""


def check_probabilities(rows: np.ndarray, what: str, sum_to_one: bool = True) -> None:
    """Check that each row is a distribution over the classes.

    Args:
        rows: A model's answers, `[n, classes]`.
        what: Whose answers these are, for the error message.
        sum_to_one: Whether rows must sum to 1; a defense that rounds or cuts answers takes that away.

    Raises:
        ValueError: Some row is none; the message says what it looks like, and what the model lacks.
    """
    if not np.isfinite(rows).all():
        raise ValueError(f"{what} answers NaN or infinity; its weights or its input's scale are broken")
    inside = ((rows >= -TOLERANCE) & (rows <= 1 + TOLERANCE)).all(1)
    sums = np.abs(rows.sum(1, dtype=np.float64) - 1) <= TOLERANCE
    wrong = np.flatnonzero(~(inside & sums) if sum_to_one else ~inside)
    if len(wrong):
        row = rows[wrong]
        raise ValueError(
            f"{what} must answer probabilities, which lie in [0, 1] and sum to 1, but some rows lie in "
            f"{row.min():.3g} to {row.max():.3g} and the first sums to {row[0].sum():.3g}: {_advice(row)}"
        )


def _advice(rows: np.ndarray) -> str:
    """What rows that are no probabilities look like, and what makes them so."""
    inside = rows.min() >= -TOLERANCE
    if inside and np.allclose(rows.sum(1), 100, atol=100 * TOLERANCE):
        return "they look like percentages; divide them by 100"
    if inside and rows.max() <= 1 + TOLERANCE:
        return "they look like a sigmoid for each class; end the model with a softmax over the classes"
    if rows.max() <= TOLERANCE and np.allclose(np.exp(rows).sum(1), 1, atol=TOLERANCE):
        return "they look like a log-softmax; add an exponential (exp) after it"
    return "they look like logits; add a softmax over the classes"
