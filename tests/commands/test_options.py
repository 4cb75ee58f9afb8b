"""Every option of every group: its factory exists, takes its keys, and fits the rest."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from experiment.options import MADE, OTHERS, READ, check_config, check_group
from experiment.serving.options import ServerOptions
from storage.typed import check_values
from support.commands import ROOT
from support.options import CONF, GROUPS, MOUNTED, composed
from support.walk import accepted
from victims.architectures.build import build_network
from victims.architectures.torchvision_model import torchvision_model
from victims.datasets.splits import resolve_splits

OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("[!_]*.yaml"))]


def targets(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node and node["_target_"] != "???" else []
        return own + [target for value in node.values() for target in targets(value)]
    return []


SEEN: set[tuple[object, ...]] = set()
"""Options that a test of this process has looked at."""


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: str(value))
def test_every_option_composes_names_what_exists_and_refuses_what_is_wrong(group: str, option: str) -> None:
    config = composed(f"{MOUNTED.get(group, group)}={option}")
    for target in targets(OmegaConf.to_container(config, resolve=False)):
        assert callable(get_method(target)) or callable(target)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    of_several = group in ("experiment", "debug")
    of_another = {"network": "victim", "gain": "pow_calibration"}.get(group, group)
    for name in [name for name in plain if name in (*READ, *MADE, *OTHERS)] if of_several else [of_another]:
        if "???" not in str(plain[name]):  # a network of one's own is named first
            assert not accepted(check_group, name, plain[name], SEEN)


def test_the_options_of_a_server_and_of_explain_refuse_what_is_wrong() -> None:
    def check(group: str, node: dict[str, Any]) -> None:
        check_values(node, group, ServerOptions)

    for name, wanted in {"serve": check, "explain": check_group}.items():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            plain: Any = OmegaConf.to_container(compose(name), resolve=True)
        group = {"serve": "server"}.get(name, name)
        assert not accepted(wanted, group, plain[group], set())


@pytest.mark.parametrize("seed", [-1, 0.5, True, None, "abc", 2**60, [1], {"a": 1}, math.nan])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
        check_config({"seed": seed})


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: str(value))
def test_a_file_says_in_its_first_line_what_it_is(group: str, option: str) -> None:
    first = (CONF / group / f"{option}.yaml").read_text().splitlines()
    assert any(line.startswith("#") and "@package" not in line for line in first[:2])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize(
    "name",
    sorted(
        path.stem for path in (CONF / "network").glob("[!_]*.yaml") if path.stem not in ("custom", "function")
    ),
)
def test_every_network_answers_for_grey_and_colour(name: str, shape: tuple[int, int, int]) -> None:
    factory = instantiate(composed(f"network@victim={name}").victim.architecture)
    images = torch.randint(0, 256, (4, *shape), dtype=torch.uint8)
    network = build_network(factory, shape, 7, images).eval()
    logits = network(images / 255)
    assert logits.shape == (4, 7)
    assert torch.isfinite(logits).all()


def test_a_network_of_ones_own_is_given_what_it_takes() -> None:
    def own(num_classes: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(num_classes))

    assert build_network(own, (1, 5, 5), 3)(torch.zeros(2, 1, 5, 5)).shape == (2, 3)
    with pytest.raises(ValueError, match="4 logits are needed"):
        build_network(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(25, 3)), (1, 5, 5), 4)
    with pytest.raises(ValueError, match="cannot take images"):
        build_network(lambda: torch.nn.Linear(7, 4), (1, 5, 5), 4)


def test_an_attack_is_one_file_and_one_option_of_its_name() -> None:
    modules = {path.stem for path in (ROOT / "extraction" / "attacks").glob("*.py")}
    modules -= {"__init__", "base", "k_center", "selection"}
    assert {path.stem for path in (CONF / "attack").glob("[!_]*.yaml")} == modules | {"random"}
    for name in modules:
        config = composed(f"attack={name}")
        assert config.attack.name == name
        assert config.attack.rule["_target_"].startswith(f"extraction.attacks.{name}.")


def test_random_is_standard_under_another_name() -> None:
    assert composed("attack=random").attack == composed("attack=standard", "attack.name=random").attack


def test_a_defense_is_one_file_and_one_option_of_its_name() -> None:
    modules = {path.stem for path in (ROOT / "victims" / "defenses").glob("*.py")} - {"__init__", "base"}
    assert {path.stem for path in (CONF / "defense").glob("[!_]*.yaml")} == modules | {"none"}
    for name in modules:
        node = composed(f"defense={name}").defense
        assert list(node) == [name]
        assert node[name]["_target_"].startswith(f"victims.defenses.{name}.")


def swept(experiment: str) -> DictConfig:
    """What an experiment varies."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"experiment={experiment}"], return_hydra_config=True)
        params = config.hydra.sweeper.params
        OmegaConf.resolve(params)
        return params


@pytest.mark.parametrize("experiment", ["mnist_full", "svhn_full", "cifar10_full", "all_attacks_digits"])
def test_the_experiments_on_attacks_have_all_of_them(experiment: str) -> None:
    chosen = swept(experiment).attack.split(",")
    assert len(chosen) == len(set(chosen))
    assert set(chosen) == {path.stem for path in (CONF / "attack").glob("[!_]*.yaml")} - {"random"}
    if experiment == "all_attacks_digits":
        assert chosen[:3] == ["mixmatch", "dfme", "maze"], "those that take minutes are begun first"


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_the_experiments_on_defenses_have_all_of_them(dataset: str) -> None:
    chosen = swept(f"defenses_{dataset}").defense.split(",")
    assert len(chosen) == len(set(chosen))
    assert set(chosen) == {path.stem for path in (CONF / "defense").glob("[!_]*.yaml")}
    config = composed(f"experiment=defenses_{dataset}", "attack=jacobian_tr")
    assert (config.attack.budget, config.dataset.name) == (9000, dataset)


@pytest.mark.parametrize(
    ("choices", "images"),
    [
        ("dataset=mnist", 10_000),
        ("dataset=fashion_mnist", 10_000),
        ("dataset=svhn", 26_032),
        ("dataset=cifar10", 10_000),
        ("dataset=cifar100", 10_000),
        ("experiment=mnist_cpu", 10_000),
    ],
)
def test_by_default_five_thousand_test_images_or_more_score_and_the_pool_covers_the_budget(
    choices: str, images: int
) -> None:
    dataset = composed(choices).dataset
    slices = resolve_splits(dataset.splits, dataset.split_choices)
    sizes = {"train": {"svhn": 73_257, "cifar10": 50_000, "cifar100": 50_000}.get(dataset.name, 60_000)}
    sizes["test"] = images

    def count(text: str) -> int:
        name, _, bounds = text.partition("[")
        first, _, last = bounds.removesuffix("]").partition(":")
        return len(range(sizes[name])[int(first or 0) : int(last) if last else None])

    assert slices["test"].startswith("test") and count(slices["test"]) >= 5000
    assert count(slices["pool"]) >= dataset.budget


def test_the_papers_cells_have_the_papers_split() -> None:
    assert swept("paper_table")["dataset.splits"] == "paper"


def test_a_dataset_brings_its_victim_and_an_attack_its_pool_and_the_command_line_wins() -> None:
    config = composed("dataset=cifar10", "attack=knockoff")
    assert config.victim.architecture["_target_"].endswith("resnet34")
    assert config.query_pool.name == "tinyimagenet32"
    config = composed("dataset=cifar10", "attack=knockoff", "network@victim=resnet8", "query_pool=cifar100")
    assert config.victim.architecture["_target_"].endswith("resnet8")
    assert config.query_pool.name == "cifar100"


def test_networks_of_torchvision_by_name() -> None:
    network = build_network(partial(torchvision_model, "squeezenet1_1"), (1, 40, 40), 7)
    assert network(torch.zeros(2, 1, 40, 40)).shape == (2, 7)
    with pytest.raises(ValueError, match="did you mean resnet18"):
        torchvision_model("resnet19", (3, 32, 32), 10)
