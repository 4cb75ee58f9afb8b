"""The figure of a run that a search looks at."""

from __future__ import annotations

from typing import Any

import pytest

from experiment.pricing.objective import check_objective, objective_of
from storage.errors import InputError

RESULT = {
    "final": {"honest_overhead": 1.5, "attacker_usd": 3.0},
    "price_to_reach": {"accuracy": {"90": {"attacker_usd": 0.25, "queries": 200}}},
}


def config(objective: Any, below: Any = None) -> dict[str, Any]:
    return {"objective": objective, "objective_below": below}


@pytest.mark.parametrize(
    ("objective", "below", "expected"),
    [
        (None, None, None),
        ("honest_overhead", None, 1.5),
        ("attacker_usd_at_90", None, 0.25),
        ("queries_at_90", None, 200.0),
        ("honest_overhead", 2, 0.5),
        ("honest_overhead", 1.25, 1.5),
    ],
)
def test_the_figure_that_is_named(objective: str | None, below: float | None, expected: float | None) -> None:
    check_objective(config(objective, below))
    assert objective_of(config(objective, below), RESULT) == expected


def test_the_least_is_of_a_cell_that_stays_below_if_any_does() -> None:
    def of(figure: float) -> float | None:
        return objective_of(config("honest_overhead", 2), {"final": {"honest_overhead": figure}})

    figures = [1.0, 1.999, 2.0, 2.001, 50.0]
    assert sorted(figures, key=lambda figure: of(figure) or 0) == [1.999, 1.0, 2.0, 2.001, 50.0]


@pytest.mark.parametrize(
    ("objective", "below", "said"),
    [
        ("thief_usd", None, "objective must be null or one of accuracy, .*attacker_usd_at_90"),
        ("honest_overhead", 0, "objective_below must be a number above 0 or null, not 0"),
        (None, 2, "objective_below is for a run with an objective"),
    ],
)
def test_what_cannot_be_meant_is_refused(objective: Any, below: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_objective(config(objective, below))
