"""The price to reach an accuracy, against a curve read by eye."""

from __future__ import annotations

import pandas as pd

from experiment.pricing.reaching import price_to_reach

CURVE = pd.DataFrame(
    {
        "round": [1, 2, 3],
        "queries": [100, 200, 300],
        "accuracy": [0.50, 0.81, 0.80],
        "fidelity": [0.55, 0.79, 0.96],
        "pow_seconds": [1.0, 4.0, 9.0],
        "attacker_solve_seconds": [2.0, 8.0, 18.0],
        "attacker_kwh": [0.1, 0.4, 0.9],
        "attacker_usd": [0.01, 0.04, 0.09],
        "cheapest_pow_seconds": [0.5, 0.6, 0.7],
        "cheapest_usd": [0.005, 0.006, 0.007],
    }
)


def test_the_first_round_that_is_good_enough_is_billed() -> None:
    found = price_to_reach(CURVE, victim_accuracy=0.9)
    accuracy, fidelity = found["accuracy"], found["fidelity"]
    assert (accuracy["80"]["reached"], accuracy["80"]["queries"], accuracy["80"]["round"]) == (True, 200, 2)
    assert (accuracy["90"]["reached"], accuracy["90"]["pow_seconds"]) == (True, 4.0)
    assert (accuracy["90"]["cheapest_pow_seconds"], accuracy["90"]["cheapest_usd"]) == (0.6, 0.006)
    assert (fidelity["80"]["queries"], fidelity["95"]["attacker_usd"]) == (300, 0.09)


def test_what_no_round_reaches_costs_more_than_all_of_it() -> None:
    found = price_to_reach(CURVE, victim_accuracy=0.9)["accuracy"]["95"]
    assert not found["reached"]
    assert (found["queries"], found["pow_seconds"], found["round"]) == (300, 9.0, 3)
