"""What a stolen model is worth: PGD, transfer, divergence, against closed forms and loops; and in cells."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from experiment.cell import run_cell
from experiment.compose import compose_cell
from extraction.transferability import TransferSettings, mean_divergence, pgd, share_misled
from storage.errors import InputError
from storage.files import file_hash
from support.defended import CPU, images, small_net
from support.defended_cells import composed
from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.tables import markdown


def settings(epsilon: float = 0.1, steps: int = 5) -> TransferSettings:
    return TransferSettings(epsilon, steps, images=100)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Curved(nn.Module):
    """Logits of two classes that are not linear in the pixels: the gradient turns on the way."""

    def forward(self, x: Tensor) -> Tensor:
        score = torch.sin(9 * x).flatten(1).sum(1)
        return torch.stack([score, -score], 1)


def test_pgd_is_that_of_a_loop_over_pixels() -> None:
    """Class 0 and its score s: the cross entropy log(1 + exp(-2 s)) grows where s falls."""
    asked, labels = images(3), torch.zeros(3, dtype=torch.int64)
    found = pgd(Curved(), asked, labels, settings(0.2, 7), CPU, random())
    start = (2 * torch.rand(asked.shape, generator=random()) - 1) * 0.2
    for place in np.ndindex(*asked.shape):
        clean = float(asked[place])
        pixel = min(1.0, max(0.0, clean + float(start[place])))
        for _ in range(7):
            slope = 9 * math.cos(9 * pixel)
            pixel -= 2.5 * 0.2 / 7 * math.copysign(1, slope)
            pixel = min(pixel, clean + 0.2, 1.0)
            pixel = max(pixel, clean - 0.2, 0.0)
        assert float(found[place]) == pytest.approx(pixel, abs=1e-5)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1.0])
def test_pgd_stays_near_and_within_the_pixels_range(epsilon: float) -> None:
    asked, labels = images(40).round(decimals=1), torch.arange(40) % 10
    found = pgd(small_net((1, 8, 8), 10), asked, labels, settings(epsilon), CPU, random())
    assert float((found - asked).abs().max()) <= epsilon + 1e-6
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    assert float((found - asked).abs().mean()) > epsilon / 4


def test_pgd_takes_bytes() -> None:
    asked = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=random())
    network, labels = small_net((1, 8, 8), 10), torch.zeros(3, dtype=torch.int64)
    ours, floats = (
        pgd(network, given, labels, settings(), CPU, random()) for given in (asked, asked.float() / 255)
    )
    assert torch.equal(ours, floats)


def test_pgd_reaches_the_optimum_of_a_linear_model() -> None:
    """Of two classes the loss grows along w_other - w_label: its sign, times epsilon, cut to the range."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    asked, labels = images(20), torch.arange(20) % 2
    found = pgd(network, asked, labels, settings(0.2, 40), CPU, random())
    linear = network[1]
    assert isinstance(linear, nn.Linear)
    towards = (linear.weight[1 - labels] - linear.weight[labels]).detach().reshape(20, 1, 8, 8)
    assert torch.allclose(found, (asked + 0.2 * towards.sign()).clamp(0, 1), atol=1e-6)


def test_the_share_of_the_misled_and_batches() -> None:
    network, asked = small_net((1, 8, 8), 10), images(10)
    with torch.no_grad():
        labels = network(asked).argmax(1)
    labels[:3] = (labels[:3] + 1) % 10
    assert share_misled(network, asked, labels, CPU) == pytest.approx(0.3)
    few = type(CPU)(accelerator="cpu", precision="32-true", channels_last=True, batch_size=3)
    whole, parts = (pgd(network, asked, labels, settings(), how, random()) for how in (CPU, few))
    assert torch.allclose(whole, parts, atol=1e-6)


def test_divergence_is_that_of_a_loop() -> None:
    ours, theirs = (torch.randn(30, 5, generator=random(seed)) * 8 for seed in (1, 2))
    total = 0.0
    for own, other in zip(ours.double().tolist(), theirs.double().tolist(), strict=True):
        p, q = ([math.exp(x) / sum(map(math.exp, row)) for x in row] for row in (own, other))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert mean_divergence(ours, theirs) == pytest.approx(total / 30)
    assert mean_divergence(ours, ours) == 0
    surest = torch.tensor([[0.0, 300.0]])
    assert mean_divergence(surest, -surest) == pytest.approx(300), "beyond what float32 has exponentials for"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("epsilon=0", "dataset.transfer.epsilon must be a number above 0 and at most 1, not 0"),
        ("steps=0", "dataset.transfer.steps must be a whole number of at least 1, not 0"),
        ("images=0.5", "dataset.transfer.images must be a whole number of at least 1, not 0.5"),
    ],
)
def test_options_are_checked_before_anything_runs(tmp_path: Path, option: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        compose_cell(composed(tmp_path, f"dataset.transfer.{option}"), progress=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def transferability(store: Path, output: Path, *overrides: str) -> dict[str, float]:
    run_cell(composed(store, *overrides), output)
    found: dict[str, float] = json.loads((output / "result.json").read_text())["transferability"]
    return found


STOLEN = ["defense=none", "attack=standard", "dataset.transfer.steps=5", "dataset.transfer.images=200"]


def test_a_cell_tells_the_transferability_and_measures_it_once(store: Path, tmp_path: Path) -> None:
    """Also of an extraction that an earlier version left: its entry holds the substitute."""
    first = transferability(store, tmp_path / "0", *STOLEN)
    assert first["kl"] > 0
    assert 0 < first["transfer"] <= first["transfer_white_box"] <= 1
    written = {path: path.stat().st_mtime_ns for path in store.glob("[tw]*/*/result.json")}
    assert len(written) == 2
    priced = [*STOLEN, "defense=pow", "pow_calibration.strength=2"]
    assert transferability(store, tmp_path / "1", *priced) == first
    assert written == {path: path.stat().st_mtime_ns for path in store.glob("[tw]*/*/result.json")}
    for kind in ("transferability", "white_box"):
        shutil.rmtree(store / kind)
    assert transferability(store, tmp_path / "2", *STOLEN) == first, "the same to the bit"
    weak = transferability(store, tmp_path / "3", *STOLEN, "dataset.transfer.epsilon=0.001")
    assert weak["transfer"] < first["transfer"] and weak["kl"] == first["kl"]


def test_the_victim_itself_transfers_as_in_the_white_box(store: Path, tmp_path: Path) -> None:
    """The victim's weights in the place of the substitute's."""
    first = transferability(store, tmp_path / "0", *STOLEN)
    (stolen,) = store.glob("extractions/*/substitute.pt")
    (victim,) = store.glob("victims/*/weights.pt")
    shutil.copy(victim, stolen)
    sums = json.loads((stolen.parent / "DONE").read_text())
    sums["files"]["substitute.pt"] = file_hash(stolen)
    (stolen.parent / "DONE").write_text(json.dumps(sums))
    shutil.rmtree(store / "transferability")
    second = transferability(store, tmp_path / "1", *STOLEN)
    assert second["kl"] == pytest.approx(0, abs=1e-9)
    assert second["transfer"] == second["transfer_white_box"] == first["transfer_white_box"]


def test_an_attacker_who_gives_up_has_no_last_substitute(store: Path, tmp_path: Path) -> None:
    run_cell(composed(store, "defense=pow", "attack.give_up_usd=1e-12"), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["gave_up"] is True and result["transferability"] is None


def test_worth_is_in_the_frames_at_the_end_of_curves(tmp_path: Path) -> None:
    for seed, kl in enumerate((0.5, 0.7)):
        measured = {"kl": kl, "transfer": 0.25, "transfer_white_box": 0.9}
        write_cell(tmp_path / str(seed), "standard", seed, [0.5, 0.9], transferability=measured)
    write_cell(tmp_path / "2", "knockoff", 0, [0.5], transferability=None)
    sweep = report.load([tmp_path])
    assert sweep.cells["transfer"].tolist() == pytest.approx([0.25, 0.25, math.nan], nan_ok=True)
    assert sweep.curves["kl"].tolist() == pytest.approx([math.nan, 0.5, math.nan, 0.7, math.nan], nan_ok=True)
    means: pd.DataFrame = report.table(sweep).set_index("attack")
    assert means.loc["standard", "kl"] == pytest.approx(0.6)
    text = markdown(report.table(sweep), sweep)
    assert "| KL | transfer % |" in text and "| 25.0 |" in text
    assert "transfer" not in markdown(report.table(sweep, at=[100]), sweep)
