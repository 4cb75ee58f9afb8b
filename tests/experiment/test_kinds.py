"""What classes say of themselves, and a sentence where a YAML or a class is not what its group needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from experiment import naming
from experiment.compose import compose_cell
from experiment.keys import Config, DataPrints, Identity
from experiment.kinds import defense_class, make_measures, measure_headings
from pow.calibration import LineCalibration
from pow.puzzles import KINDS, Sha256Puzzle
from storage.errors import InputError
from storage.store import identity_key
from support.commands import ROOT
from support.options import options
from victims.defenses.base import DefendedVictim, MisinformerSettings, Perturb, Perturbation, Watching
from victims.measures.base import Measure, MeasuredVictim

PRINTS = DataPrints("train", "test", "pool")


def composed(*overrides: str) -> Config:
    naming.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", [*overrides]), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def refusal(tmp_path: Path, *overrides: str) -> str:
    """What a cell is refused with."""
    config = OmegaConf.create(composed(f"paths.store={tmp_path}/store", *overrides))
    with pytest.raises(InputError) as error:
        compose_cell(config, progress=False)
    return str(error.value)


def added(tmp_path: Path, file: str, *lines: str) -> str:
    """The override that adds a folder with one YAML to the config."""
    path = tmp_path / "conf" / file
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    return f"hydra.searchpath=[file://{tmp_path / 'conf'}]"


class Halved(Perturbation):
    """Changes answers; trains a network."""

    trains = "liar"

    def __init__(self, liar: MisinformerSettings | None = None) -> None:
        self.liar = liar

    def bind(self, victim: DefendedVictim) -> Perturb:
        return lambda images, probabilities, first: probabilities / 2


class Unlabelled(Measure):
    """A measure that says no more than it must."""

    format = ".1f"

    def __init__(self, victim: MeasuredVictim) -> None:
        del victim

    def columns(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        return {"cost": torch.ones(len(images), dtype=torch.float64)}


class Columnless(Measure):
    """A measure that measures nothing."""


class Unscheduled(LineCalibration):
    """A calibration without a schedule."""

    name = "unscheduled"


class Nameless(LineCalibration):
    """A calibration without a name."""

    def schedule(self, deviation: Any) -> Any:
        return deviation


ROUNDING = "_target_: victims.defenses.rounding.Rounding"


def test_a_flat_yaml_of_a_defense_works(tmp_path: Path) -> None:
    path = added(tmp_path, "defense/mine.yaml", "# @package defense.mine", ROUNDING, "decimals: 1")
    config = composed(path, "defense=[mine,pow]", "defense.mine.decimals=3")
    assert config["defense"]["mine"]["decimals"] == 3 and list(config["defense"]) == ["mine", "pow"]


@pytest.mark.parametrize("choice", ["mine", "[top_k,mine]"])
def test_without_its_first_line_it_is_told_what_that_must_be(tmp_path: Path, choice: str) -> None:
    path = added(tmp_path, "defense/mine.yaml", ROUNDING, "decimals: 1")
    said = refusal(tmp_path, path, f"defense={choice}")
    assert "the first line of a defense's YAML must be `# @package defense.NAME`" in said
    assert "decimals" in said


def test_what_is_no_defense_is_refused(tmp_path: Path) -> None:
    where = "+defense.mine._target_=victims"
    assert "defense.mine needs a _target_" in refusal(tmp_path, "+defense.mine.decimals=2")
    for target in (".datasets.digits.load", ".measures.gap.GapCost", ".defenses.base.Defense"):
        said = refusal(tmp_path, where + target)
        assert f"defense.mine._target_=victims{target} is no defense" in said
        assert "Perturbation, Watching or Charging" in said
    assert "cannot be imported" in refusal(tmp_path, where + ".defenses.mine.Mine")
    assert not (tmp_path / "store").exists()


def test_what_is_no_measure_or_calibration_or_puzzle_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "+privacy.measures.mine._target_=victims.defenses.rounding.Rounding")
    assert "privacy.measures.mine._target_=victims.defenses.rounding.Rounding is no measure" in said
    for target in ("victims.defenses.rounding.Rounding", f"{__name__}.Nameless"):
        said = refusal(tmp_path, f"pow_calibration._target_={target}")
        assert f"pow_calibration._target_={target} must be a class that derives from Calibration" in said
    for kind in ("victims.defenses.rounding.Rounding", "pow.puzzles.base.Puzzle"):
        assert f"puzzle.kind={kind} must be a class that derives from Puzzle" in refusal(
            tmp_path, f"puzzle.kind={kind}"
        )
    assert "puzzle.kind=sha3 cannot be imported" in refusal(tmp_path, "puzzle.kind=sha3")


def test_a_class_that_lacks_what_its_base_asks_for_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, f"+privacy.measures.mine._target_={__name__}.Columnless")
    assert f"privacy.measures.mine._target_={__name__}.Columnless lacks columns" in said
    said = refusal(tmp_path, f"pow_calibration._target_={__name__}.Unscheduled")
    assert f"pow_calibration._target_={__name__}.Unscheduled lacks schedule" in said


def test_two_measures_that_ask_different_teachers_are_refused(tmp_path: Path) -> None:
    """They would share one ensemble in the store; equal options make it one indeed."""
    config = composed(f"paths.store={tmp_path}/store", "+privacy/measure@privacy.measures.votes=pate")
    measures = config["privacy"]["measures"]
    measures["votes"] = measures["pate"] | {"sigma": 4}
    assert set(make_measures(config, 800)) >= {"pate", "votes"}
    measures["votes"] |= {"teachers": 3}
    with pytest.raises(ValueError, match="pate and votes ask teachers with different options"):
        make_measures(config, 800)


def test_a_kind_without_a_rate_is_refused_with_the_option_that_gives_it_one(tmp_path: Path) -> None:
    for group, option in (
        ("hardware", "hardware"),
        ("hardware@honest_hardware", "honest_hardware"),
        ("hardware@reference_client", "reference_client"),
    ):
        said = refusal(tmp_path, "puzzle=argon2id", "pow_calibration=linear", f"{group}=h100")
        assert "hardware h100 has no hash rate for puzzle=argon2id" in said
        assert f"+{option}.hashes_per_second.argon2id=RATE" in said


def test_two_puzzles_of_one_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="two kinds of puzzles cannot both be 'sha256'"):

        class Mine(Sha256Puzzle):
            kind = "sha256"

    assert KINDS["sha256"] is Sha256Puzzle


def test_each_defense_says_its_kind() -> None:
    kinds = {}
    for name in options("defense"):
        if name != "none":
            kinds[name] = defense_class(composed(f"defense={name}"), name).kind
    assert {name for name, kind in kinds.items() if kind != "changes"} == {"hoda", "pow", "prada"}
    assert (kinds["pow"], kinds["prada"], kinds["hoda"]) == ("charges", "watches", "watches")


def test_the_network_that_a_defense_trains_is_told_by_its_class(tmp_path: Path) -> None:
    liar = "${defense.adaptive_misinformation.misinformer}"
    node = f"+defense.mine={{_target_: {__name__}.Halved, liar: {liar}}}"
    both = ("defense=adaptive_misinformation", node)
    known = Identity(composed(both[0]), PRINTS).auxiliary
    mine = composed(*both)
    del mine["defense"]["adaptive_misinformation"]
    assert Identity(mine, PRINTS).auxiliary == known is not None
    assert Identity(composed("defense=rounding"), PRINTS).auxiliary is None
    assert "only one defense of a stack can train a network" in refusal(tmp_path, *both)


def test_what_of_a_watch_is_seen_in_the_trace_is_told_by_its_class() -> None:
    class Mine(Watching):
        @classmethod
        def seen_in_trace(cls, options: Any) -> dict[str, Any]:
            return {}

    node = {"at_alarm": "charge", "surcharge": 3, "delta": 1}
    assert Watching.seen_in_trace(node) == {"at_alarm": "report", "delta": 1}
    assert Watching.seen_in_trace(node | {"at_alarm": "block"}) == {"at_alarm": "block", "delta": 1}
    assert Mine.seen_in_trace(node) == {}


def test_a_measure_carries_its_heading() -> None:
    headings = measure_headings(composed(f"+privacy.measures.mine._target_={__name__}.Unlabelled"))
    assert headings["pknn"] == {"label": "pkNN", "format": ".4g"}
    assert headings["mine"] == {"label": "mine", "format": ".1f"}


def test_keys_hold_no_python_path_of_ours() -> None:
    stack = ("defense=[adaptive_misinformation,prada,pow]", "attack=dfme", "pow_calibration=fitted")
    identity = Identity(composed(*stack), PRINTS)
    text = str([identity.cell, identity.teachers, identity.auxiliary, identity.honest])
    assert "network/mnistnet" in text and "puzzle/sha256" in text
    for package in ("extraction.", "victims.", "pow.", "training."):
        assert package not in text


def test_random_is_standard_by_another_name() -> None:
    random, standard = (Identity(composed(f"attack={name}"), PRINTS) for name in ("random", "standard"))
    assert identity_key(random.extraction) == identity_key(standard.extraction)


@pytest.mark.parametrize(
    ("accounting", "pate", "pknn"),
    [
        ("summed", "summed", "summed"),
        ("composed", "composed", "composed"),
        ("paired", "summed", "composed"),
    ],
)
def test_costs_add_up_all_alike_or_in_pairs_as_in_the_paper(
    accounting: str, pate: str, pknn: str, tmp_path: Path
) -> None:
    config = composed(f"privacy.accounting={accounting}", f"paths.store={tmp_path}/store")
    found = compose_cell(OmegaConf.create(config), progress=False).accounting
    assert {name: each.how for name, each in found.items()} == {"pate": pate, "pknn": pknn}
    assert [found[name].is_the_papers for name in ("pate", "pknn")] == [pate == "summed", pknn == "summed"]
