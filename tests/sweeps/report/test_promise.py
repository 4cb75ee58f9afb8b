"""The table of what honest users are promised, against figures made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.grids.reports import write_cell
from sweeps.report.frames import tidy
from sweeps.report.page import page
from sweeps.report.promise import promise_section
from sweeps.report.results import load_cells


def fitted(share: float, narrow: float | None) -> dict[str, Any]:
    strata = {"usual": 0.99, "<narrow>": narrow}
    held = [
        {
            "bound": {"users": 0.95, "overhead": 2.0},
            "share": share,
            "low": share - 0.02,
            "high": share + 0.01,
        },
        {"bound": {"users": 0.99, "overhead": 4.0}, "share": 1.0, "low": 0.99, "high": 1.0},
    ]
    stress = {"dearer_bill": 1.02, "longest_bill": 3.4}
    return {"promise": {"held": [each | {"by_stratum": strata} for each in held], "stress": stress}}


def test_bounds_are_told_once_a_toll_with_the_widest_interval(tmp_path: Path) -> None:
    """Two attacks of a seed share a fit; the seeds' fits are averaged."""
    toll: dict[str, Any] = {"calibration": "progressive", "strength": 1.0}
    priced = toll | {"defense": "pow", "dataset": "digits"}
    for attack in ("standard", "knockoff"):
        for seed, share in ((0, 0.95), (1, 0.97)):
            write_cell(
                tmp_path / f"{attack}{seed}", attack, seed, [0.5, 0.6], fitted=fitted(share, 0.9), **priced
            )
    write_cell(tmp_path / "free", "standard", 0, [0.5, 0.6], defense="none", dataset="digits")
    sweep = tidy(load_cells([tmp_path]))
    first, second = sweep.promised.to_dict("records")
    assert (first["dataset"], first["toll"], first["promised"], first["overhead"]) == (
        "digits",
        "pow",
        0.95,
        2,
    )
    assert (first["share"], first["low"], first["high"]) == pytest.approx((0.96, 0.93, 0.98))
    assert (first["fits"], first["usual"], second["share"]) == (2, pytest.approx(0.99), 1.0)
    section = promise_section(sweep.promised)
    assert "<td>96.0\u00a0% (93.0 to 98.0)</td><td>99\u00a0%</td><td>90\u00a0%</td>" in section
    assert "95\u00a0% below 2" in section and "&lt;narrow&gt;" in section and "<narrow>" not in section
    assert section.count("1.02 times as high") == 1
    assert section in page(sweep)


def test_a_sweep_without_a_fitted_toll_has_none(tmp_path: Path) -> None:
    write_cell(tmp_path / "free", "standard", 0, [0.5, 0.6], defense="none", dataset="digits")
    sweep = tidy(load_cells([tmp_path]))
    assert sweep.promised.empty and promise_section(sweep.promised) == ""
    assert 'id="promise"' not in page(sweep)
