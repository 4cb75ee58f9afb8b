"""Stacks of defenses: what of them is in which key, in which order they may stand, how they are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from experiment.compose import compose_cell
from experiment.keys import Config, DataPrints, Identity, asking_accounts
from experiment.naming import stack_name
from storage.errors import InputError
from storage.store import identity_key
from support.commands import ROOT, run_program
from sweeps.grid.compose import GridComposer, hydra_loader, master_config
from training.recipe import Hardware
from victims.answers import limited
from victims.meter import Meter
from victims.oracle import BudgetedOracle, VictimOracle
from victims.types import QueryBatch

CPU = Hardware(accelerator="cpu", precision="32-true", channels_last=False)
PRINTS = DataPrints("train", "test", "pool")


def composed(*overrides: str) -> Config:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", [*overrides]), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def extraction_key(*overrides: str) -> str:
    return identity_key(Identity(composed(*overrides), PRINTS).extraction)


def test_what_changes_answers_is_in_the_extractions_key_and_the_toll_is_not() -> None:
    free = extraction_key("defense=none")
    assert extraction_key("defense=pow") == extraction_key("defense=[none,pow]") == free
    rounded = extraction_key("defense=rounding")
    assert rounded != free
    assert extraction_key("defense=[rounding,pow]") == rounded
    assert extraction_key("defense=[rounding,pow]", "pow_calibration.strength=9") == rounded
    assert extraction_key("defense=rounding", "defense.rounding.decimals=3") != rounded


def test_the_order_of_answers_changed_twice_is_in_the_key() -> None:
    one = extraction_key("defense=[rounding,top_k]")
    other = extraction_key("defense=[top_k,rounding]")
    assert len({one, other, extraction_key("defense=top_k")}) == 3


def test_accounts_that_no_defense_tells_apart_share_an_extraction() -> None:
    config = composed("defense=[rounding,pow]", "attack.accounts=7")
    assert asking_accounts(config) == 1


def test_a_watch_that_reports_or_charges_shares_an_extraction_and_one_that_blocks_has_its_own() -> None:
    alarm = "defense.prada.at_alarm"
    reported = extraction_key("defense=prada")
    stack = "defense=[prada,pow]"
    assert extraction_key(stack, f"{alarm}=charge") == reported
    assert extraction_key(stack, f"{alarm}=charge", "defense.prada.surcharge=3") == reported
    assert extraction_key("defense=prada", f"{alarm}=block") != reported != extraction_key("defense=none")
    cells = {
        Identity(composed(stack, *options), PRINTS).cell_key
        for options in ([], [f"{alarm}=charge"], [f"{alarm}=charge", "defense.prada.surcharge=3"])
    }
    assert len(cells) == 3
    assert asking_accounts(composed("defense=prada", "attack.accounts=7")) == 7


def test_neutral_options_of_the_attacker_leave_the_key_as_it_was() -> None:
    plain = Identity(composed("attack=knockoff"), PRINTS).extraction
    assert not {"recover", "repeats"} & set(plain["attack"])
    assert extraction_key("attack=knockoff", "attack.repeats=2") != identity_key(plain)
    assert extraction_key("attack=knockoff", "attack.recover=denoise") != identity_key(plain)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["defense=[pow,rounding]"], "defense=[rounding,pow]"),
        (["defense=[prada,rounding]"], "defense=[rounding,prada]"),
        (["defense=[rounding,pow,prada]"], "defense=[rounding,prada,pow]"),
        (["defense=prada", "defense.prada.at_alarm=charge"], "defense=[prada,pow]"),
        (["defense=prada", "oracle=http", "oracle.url=http://x"], "defense.prada watches in process only"),
        (["attack=knockoff", "attack.recover=bayes"], "attack.knows=[defense]"),
        (
            ["attack=knockoff", "attack.recover=magic"],
            "attack.recover must be one of none, denoise, bayes, ddae",
        ),
        (["attack=standard", "attack.recover=denoise"], "choose attack.answers=soft or topk"),
        (["attack.repeats=0"], "attack.repeats must be a whole number of at least 1"),
        (["attack.repeats=200"], "attack.repeats=200 is more than the 100 queries of a round"),
        (
            ["defense=rounding", "defense.rounding.decimals=-1"],
            "decimals must be a whole number",
        ),
        (
            ["defense=rounding", "defense.rounding.decimals=1.5"],
            "decimals must be a whole number",
        ),
        (["defense=top_k", "defense.top_k.k=0"], "k must be a whole number of at least 1"),
        (
            ["defense=gaussian_noise", "defense.gaussian_noise.sigma=-1"],
            "must be a number of at least 0",
        ),
        (["defense=gaussian_noise", "defense.gaussian_noise.noise=loud"], "must be one of fixed, fresh"),
        (
            ["defense=reverse_sigmoid", "defense.reverse_sigmoid.beta=-1"],
            "must be a number of at least 0",
        ),
        (["defense=reverse_sigmoid", "defense.reverse_sigmoid.gamma=0"], "gamma must be a number above 0"),
        (
            ["defense=reverse_sigmoid", "defense.reverse_sigmoid.keep_label=maybe"],
            "keep_label must be true or false",
        ),
        (["defense=mad", "defense.mad.compares=angles"], "compares must be one of answers, extremes"),
        (["defense=mad", "defense.mad.epsilon=2.5"], "mad.epsilon must be a number between 0 and 2, not 2.5"),
        (["defense=mad", "defense.mad.argmax=lost"], "defense.mad.argmax must be one of kept, free"),
        (
            ["defense=modelguard_w", "defense.modelguard_w.epsilon=-1"],
            "must be a number between 0 and 2",
        ),
        (
            ["defense=adaptive_misinformation", "defense.adaptive_misinformation.threshold=1.5"],
            "threshold must be a number between 0 and 1, not 1.5",
        ),
        (
            [
                "defense=gaussian_noise",
                "defense.gaussian_noise.noise=fresh",
                "oracle=http",
                "oracle.url=http://x",
            ],
            "choose fixed noise, or oracle=in_process",
        ),
        (["defense=pow", "+defense.other=${defense.pow}"], "only one defense of a stack can charge"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_stacks_that_make_no_sense_are_refused(tmp_path: Path, overrides: list[str], said: str) -> None:
    config = OmegaConf.create(composed(f"paths.store={tmp_path}/store", *overrides))
    with pytest.raises(InputError) as error:
        compose_cell(config, progress=False)
    assert said in str(error.value)
    assert not (tmp_path / "store").exists()


def test_several_defenses_have_a_folder_of_their_names() -> None:
    with hydra_loader(ROOT / "conf") as loader:
        composer = GridComposer(loader, master_config(loader))
        folders = [
            composer.compose([f"defense={choice}"], 3).subdir("s0_key")
            for choice in ("none", "pow", "[rounding,pow]", "[top_k]")
        ]
    assert folders == [f"digits_standard_{name}_s0_key" for name in ("none", "pow", "rounding+pow", "top_k")]


def test_a_grid_over_stacks_is_planned(tmp_path: Path) -> None:
    grid = "defense=none,pow,[rounding,pow],[rounding,top_k]"
    paths = [f"paths.store={tmp_path}/store", f"paths.output={tmp_path}/outputs"]
    process = run_program("run.py", "-m", grid, "attack=standard", "logger=none", "--dry-run", *paths)
    assert process.returncode == 0, process.stderr
    assert "4 cells, 0 of them done" in process.stdout
    assert "3 extractions" in process.stdout


def test_a_wrong_option_of_a_stacked_defense_is_answered_with_the_valid_ones() -> None:
    process = run_program("run.py", "defense=[rounding,pow]", "defense.rounding.decimal=2", "logger=none")
    assert process.returncode == 1
    assert "Did you mean defense.rounding.decimals?" in process.stderr


class Fixed(nn.Module):
    """The same logits for every image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([0.0, 3.0, 1.0, 2.0]).repeat(len(images), 1)


class Watching(Meter):
    """Keeps the log-probabilities that it is given."""

    seen: Tensor

    def record(self, batch: QueryBatch, log_probs: Tensor, measured: object = None) -> None:
        self.seen = log_probs


def test_answers_are_changed_in_order_and_cut_last_and_the_meter_sees_the_victims_own() -> None:
    calls: list[int] = []

    def halved(images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        calls.append(first)
        return probabilities / 2

    def turned(images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        return 1 - probabilities

    meter = Watching({})
    oracle = VictimOracle(Fixed(), (1, 2, 2), meter, CPU, "topk", 1, [halved, turned])
    budgeted = BudgetedOracle(oracle, 10, spent=4)
    batch = QueryBatch(torch.rand(3, 1, 2, 2))
    own = torch.tensor([0.0, 3.0, 1.0, 2.0]).softmax(0)
    answer = budgeted.query(batch).values
    expected = torch.zeros(4)
    expected[0] = 1 - own[0] / 2
    assert torch.allclose(answer[0], expected)
    assert torch.allclose(meter.seen[0].exp(), own)
    budgeted.query(batch)
    assert calls == [4, 7]
    assert limited(own[None], "hard", 1).values.tolist() == [1]


@pytest.mark.parametrize(("given", "name"), [("[pow,pow]", "pow"), ("[none,pow]", "pow"), ("[]", "none")])
def test_a_stack_is_what_acts_in_it_however_it_is_spelt(given: str, name: str) -> None:
    spelt, plain = composed(f"defense={given}"), composed(f"defense={name}")
    assert stack_name(spelt["defense"]) == name
    assert Identity(spelt, PRINTS).cell_key == Identity(plain, PRINTS).cell_key
