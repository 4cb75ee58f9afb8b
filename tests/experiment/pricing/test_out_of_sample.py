"""Whatever is told of honest users is measured on images that no toll was fitted to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from experiment.artifacts.honest_users import HonestCosts, clean
from experiment.cell import run_cell
from experiment.pricing import cell_pricing
from pow import fitting
from pow.calibration import fitted
from pow.honest_users import halves
from support.defended_cells import composed


class Known(HonestCosts):
    """Costs of 60 images, clean and corrupted; each image is known by its label."""

    def get(self) -> pd.DataFrame:
        rows = pd.DataFrame({"cost_pate": 0.5, "label": np.arange(60), "corrupted": False})
        return pd.concat([rows, rows.assign(corrupted=True)], ignore_index=True)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_halves_are_those_of_both_fits_and_share_no_image(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Known(cast(Any, SimpleNamespace(config={"seed": seed})), cast(Any, None))
    made: list[tuple[pd.DataFrame, pd.DataFrame]] = []

    def noted(*arguments: Any) -> Any:
        made.append(halves(*arguments))
        raise InterruptedError

    for module in (fitting, fitted):
        monkeypatch.setattr(module, "halves", noted)
    nothing: Any = SimpleNamespace(gains={})
    with pytest.raises(InterruptedError):
        fitting.fit_to_population(nothing, nothing, nothing, honest.get(), seed)
    with pytest.raises(InterruptedError):
        fitted.fit_to_users(nothing, nothing, honest.get(), nothing, seed)
    for first, second in made:
        pd.testing.assert_frame_equal(honest.fitting(), first)
        pd.testing.assert_frame_equal(honest.held_out(), second)
    assert set(honest.fitting()["label"]).isdisjoint(honest.held_out()["label"])
    assert len(clean(honest.held_out())) == 30


@pytest.mark.parametrize("calibration", ["constant", "linear"])
def test_an_honest_users_bills_are_of_images_not_fitted_to(
    calibration: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    billed: list[pd.DataFrame] = []
    asked: dict[str, list[pd.DataFrame]] = {"fitting": [], "held_out": []}

    def noting(name: str, place: int) -> None:
        function = getattr(cell_pricing, name)

        def noted(*arguments: Any, **options: Any) -> Any:
            billed.append(arguments[place])
            return function(*arguments, **options)

        monkeypatch.setattr(cell_pricing, name, noted)

    def keeping(name: str) -> None:
        function = getattr(HonestCosts, name)

        def kept(honest: HonestCosts) -> pd.DataFrame:
            asked[name].append(function(honest))
            return asked[name][-1]

        monkeypatch.setattr(HonestCosts, name, kept)

    noting("honest_bill", 3)
    noting("honest_work", 1)
    keeping("fitting")
    keeping("held_out")
    run_cell(composed(tmp_path / "store", "defense=pow", f"pow_calibration={calibration}"), tmp_path / "cell")
    work, bill = billed
    pd.testing.assert_frame_equal(bill, asked["held_out"][0])
    pd.testing.assert_frame_equal(work, clean(asked["held_out"][0]))
    assert len(asked["fitting"]) == 1
