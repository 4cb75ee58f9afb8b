"""Hardware, its bills, what an honest user pays, and how a config prices queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiment.pricing.bills import Surcharge, honest_work
from pow.calibration import LinearExpectation
from pow.calibration.linear import LinearCalibration
from pow.hardware import Hardware
from pow.pricing import Pricing, make_pricing
from pow.puzzles import Argon2idPuzzle, HashcashPuzzle, PuzzleSettings, Sha256Puzzle
from storage.options import instantiate
from support.commands import ROOT
from victims.defenses.pow import ProofOfWork

CONF = ROOT / "conf"
PROFILES = sorted((CONF / "hardware").glob("[!_]*.yaml"))


def hardware(**options: Any) -> Hardware:
    standard = {"name": "mine", "hashes_per_second": {"sha256": 2e6, "argon2id": 100.0}, "source": "invented"}
    return Hardware(**(standard | {"watts": 50.0, "usd_per_hour": 0.1} | options))


def priced_by(*overrides: str) -> Pricing:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", [*overrides]), resolve=False)
    config.pop("hydra", None)
    return make_pricing(OmegaConf.to_container(OmegaConf.create(config), resolve=True))  # type: ignore[arg-type]


def test_a_bill_by_hand() -> None:
    """Two million hashes a second: 7.2e9 hashes take an hour, 50 Wh and ten cents."""
    bill = hardware().bill(np.array([0.0, 7.2e9]), PuzzleSettings(Sha256Puzzle))
    assert bill.seconds.tolist() == [0.0, 3600.0]
    assert bill.kwh.tolist() == [0.0, 0.05]
    assert bill.usd.tolist() == [0.0, 0.1]


def test_more_memory_takes_longer() -> None:
    expensive = PuzzleSettings(Argon2idPuzzle, options={"memory": 16384, "passes": 3})
    assert hardware().rate(expensive) == pytest.approx(100.0 / 6)


def test_a_kind_without_a_rate_is_not_billed() -> None:
    with pytest.raises(
        ValueError, match="mine has no hash rate for puzzle=hashcash; it has sha256, argon2id"
    ):
        hardware().bill(np.ones(1), PuzzleSettings(HashcashPuzzle))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hashes_per_second": {}}, "hashes_per_second must name a kind"),
        ({"hashes_per_second": {"sha256": 0}}, "hashes_per_second.sha256 must be a number above 0"),
        ({"watts": -1.0}, "watts must be a number of at least 0"),
        ({"usd_per_hour": float("nan")}, "usd_per_hour must be a number of at least 0"),
    ],
)
def test_wrong_figures_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hardware(**options)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_names_itself_and_its_sources(path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        profile: Hardware = instantiate(compose("config", [f"hardware={path.stem}"]).hardware, "hardware")
    assert profile.name == path.stem
    assert len(profile.source) > 40
    assert profile.rate(PuzzleSettings(Sha256Puzzle)) > 1e5


def test_the_reference_client_decides_how_many_hashes_a_second_is() -> None:
    for overrides, rate in (
        (["pow_calibration=linear"], 2.0e6),
        (["pow_calibration=linear", "hardware@reference_client=phone"], 3e5),
        (["pow_calibration=linear", "pow_calibration.reference_rate=7"], 7.0),
        (["pow_calibration=linear", "puzzle=argon2id", "puzzle.options.memory=16384"], 112.5),
    ):
        calibration = priced_by(*overrides).calibration(expected=LinearExpectation(0.0, 0.0))
        assert calibration.expected_hashes(np.array([1.0])).tolist() == [rate]


def test_attacker_and_honest_user_have_hardware_of_their_own() -> None:
    pricing = priced_by("hardware=rtx4090", "hardware@honest_hardware=phone")
    assert (pricing.attacker.name, pricing.honest.name) == ("rtx4090", "phone")


def test_hashes_of_the_authors_client_are_no_argon2() -> None:
    with pytest.raises(ValueError, match="choose puzzle=hashcash or sha256"):
        priced_by("pow_calibration=paper", "puzzle=argon2id")
    with pytest.raises(ValueError, match="h100 has no hash rate for puzzle=argon2id"):
        priced_by("pow_calibration=linear", "puzzle=argon2id", "hardware=h100")


def test_an_honest_users_work_against_a_loop() -> None:
    """Images that all cost the same make every user alike."""
    priced = pd.DataFrame({"cost_pate": np.full(50, 0.5)})
    calibration = LinearCalibration(LinearExpectation(0.4, 0.0), slope=0.3, request_size=64)
    toll = ProofOfWork().bind(calibration, PuzzleSettings(HashcashPuzzle))
    work = honest_work(toll, priced, lambda rows: rows["cost_pate"].to_numpy().cumsum(), 150, 0)
    seconds = [0.3 * 0.1 * queries for queries in (64, 128, 150)]
    hashes = [2.0 ** np.floor(np.log2(each * 2.3e6)) for each in seconds]
    assert work.queries.tolist() == [0, 64, 128, 150]
    assert work.seconds[1:] == pytest.approx(np.cumsum(seconds))
    assert work.expected_hashes[1:] == pytest.approx(np.cumsum(hashes))
    halfway = work.after(np.array([96.0]))
    assert halfway[0] == pytest.approx([(work.seconds[1] + work.seconds[2]) / 2])
    assert halfway[1] == pytest.approx([(work.expected_hashes[1] + work.expected_hashes[2]) / 2])


def test_an_honest_users_false_alarm_against_a_loop() -> None:
    """Ten alike users, of whom three have an alarm: with the last query of a request, before it, after it."""
    priced = pd.DataFrame({"cost_pate": np.full(50, 0.5)})
    calibration = LinearCalibration(LinearExpectation(0.4, 0.0), slope=0.3, request_size=64)
    toll = ProofOfWork().bind(calibration, PuzzleSettings(HashcashPuzzle))
    surcharge = Surcharge(5.0, alarms_after=np.array([60, 128, 129]), users=10)
    work = honest_work(toll, priced, lambda rows: rows["cost_pate"].to_numpy().cumsum(), 150, 0, surcharge)
    seconds, hashes = np.zeros(3), np.zeros(3)
    for alarm in (60, 128, 129, *[1000] * 7):
        for number, queries in enumerate((64, 128, 150)):
            each = 0.3 * 0.1 * queries * (5 if alarm <= queries else 1)
            seconds[number] += each / 10
            hashes[number] += 2.0 ** np.floor(np.log2(each * 2.3e6)) / 10
    assert work.seconds[1:] == pytest.approx(np.cumsum(seconds))
    assert work.expected_hashes[1:] == pytest.approx(np.cumsum(hashes))


def test_an_alarm_that_went_is_paid_for_no_longer() -> None:
    surcharge = Surcharge(5.0, np.array([10, 20, 60]), users=4, alarms_until=np.array([30, 70]))
    shares = surcharge.share(np.array([9, 10, 29, 30, 60, 69, 70, 100]))
    assert shares.tolist() == [0, 0.25, 0.5, 0.25, 0.5, 0.5, 0.25, 0.25]


def test_an_honest_users_work_is_a_mean() -> None:
    """It lies between the cheapest and the most expensive image's, and is the same for the same seed."""
    priced = pd.DataFrame({"cost_pate": np.linspace(0.0, 1.0, 40)})
    calibration = LinearCalibration(LinearExpectation(0.0, 0.0), slope=1.0, request_size=10)
    toll = ProofOfWork().bind(calibration, PuzzleSettings(Sha256Puzzle))

    def work(seed: int) -> np.ndarray:
        return honest_work(
            toll, priced, lambda rows: rows["cost_pate"].to_numpy().cumsum(), 100, seed
        ).seconds

    assert work(0).tolist() == work(0).tolist() != work(1).tolist()
    assert work(0)[-1] == pytest.approx(sum(0.5 * queries for queries in range(10, 101, 10)), rel=0.1)
