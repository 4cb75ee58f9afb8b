"""A gate that is killed again and again under load gives no answer twice and forgets no cost.

`python -m benchmarks.gate --kill 50` does it for longer.
"""

from __future__ import annotations

from pathlib import Path

from support.gates.killed import (
    kill_again_and_again,
)


def test_a_killed_gate_answers_nothing_twice_and_forgets_no_cost(tmp_path: Path) -> None:
    outcome = kill_again_and_again(tmp_path, kills=10, seed=0)
    assert outcome.kills == 10 and outcome.challenges >= outcome.answers > 20
