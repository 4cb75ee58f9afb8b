"""Times of work on the hardware that each side solves with, in the place of the reference client's."""

from __future__ import annotations

import pandas as pd

NEEDED = ("pow_seconds", "attacker_solve_seconds", "honest_pow_seconds", "honest_solve_seconds")


def on_own_hardware(curves: pd.DataFrame) -> pd.DataFrame:
    """Curves whose times hold the work of `hardware` and `honest_hardware`.

    curve.csv counts work in seconds of the reference client, as calibrations do, and tells beside it what
    each side's own hardware takes. Here `total_seconds`, `overhead`, `cheapest_pow_seconds`,
    `cheapest_overhead` and `honest_overhead` are made of the latter. Curves of early versions, which do not
    tell it, stay as they are.
    """
    if not set(NEEDED) <= set(curves):
        return curves
    own, reference = curves["attacker_solve_seconds"], curves["pow_seconds"]
    told, query = own.notna(), curves["query_seconds"]
    changed = {"total_seconds": curves["total_seconds"] + own - reference}
    changed["overhead"] = changed["total_seconds"] / query
    changed["honest_overhead"] = 1 + curves["honest_solve_seconds"] / query
    if "cheapest_pow_seconds" in curves:
        cheapest = curves["cheapest_pow_seconds"]
        ours = cheapest * (own / reference).where(reference > 0, 1.0)
        changed["cheapest_pow_seconds"] = ours
        changed["cheapest_overhead"] = curves["cheapest_overhead"] + (ours - cheapest) / query
    changed["pow_seconds"] = own
    return curves.assign(
        **{
            name: values.where(told & (query > 0), curves[name])
            for name, values in changed.items()
            if name in curves
        }
    )
