"""Under load the work rises for everyone, and falls again."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from gate.app import Hosting
from gate.model.effort import MOST, Effort
from gate.protocol import encode
from gate.steps import NPY
from support.gates.over_http import IMAGES, serving
from support.gates.server import predict


def test_it_doubles_above_the_target_and_halves_below_half_of_it() -> None:
    effort = Effort(0.8)
    factors = []
    for load in (0.9, 0.81, 0.8, 0.4, 0.39, 0.1, 0.1):
        effort.follow(load)
        factors.append(effort.factor)
    assert factors == [2, 4, 4, 4, 2, 1, 1]
    for _ in range(20):
        effort.follow(1.0)
    assert effort.factor == MOST


def test_without_a_target_it_never_does() -> None:
    effort = Effort(None)
    effort.follow(1.0)
    assert effort.factor == 1


@pytest.mark.parametrize("target", [0.0, -1.0, 1.5, float("nan")])
def test_a_target_that_makes_no_sense(target: float) -> None:
    with pytest.raises(ValueError, match="load_target must be above 0 and at most 1, or null"):
        Effort(target)


def test_a_busy_gate_asks_for_more_and_remembers_it_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.app.LOAD_SECONDS", 0.1)
    slow = [True]

    def busy(images: np.ndarray) -> np.ndarray:
        if slow[0]:
            time.sleep(0.05)
        return predict(images)

    with serving(tmp_path, predict=busy, hosting=Hosting(load_target=0.3)) as server:
        difficulties = [server.ask()["puzzle"]["difficulty"] for _ in range(30)]
        assert difficulties[0] == 16 and max(difficulties) >= 64
        assert "tollgate_effort" in server.get("/metrics").text
        slow[0] = False
        deadline = time.monotonic() + 20
        while server.post("/v1/predict", encode(IMAGES), kind=NPY).json()["puzzle"]["difficulty"] > 32:
            assert time.monotonic() < deadline, "it falls again"
            time.sleep(0.1)
