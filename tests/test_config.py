"""Config groups share lines instead of repeating them, and what configs say by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from experiment import naming
from support.commands import ROOT, run_program

CONF = ROOT / "conf"
LARGEST_SHARE = 0.2


def repeated_share(folder: Path) -> float:
    """The share of the YAML lines under a folder that stand in two files or more.

    Lines are compared without the space around them. Blank lines and lines of comments are left out.
    """
    lines: list[tuple[str, Path]] = []
    for path in folder.rglob("*.yaml"):
        stripped = (line.strip() for line in path.read_text().splitlines())
        lines += [(line, path) for line in stripped if line and not line.startswith("#")]
    files: dict[str, set[Path]] = {}
    for line, path in lines:
        files.setdefault(line, set()).add(path)
    return sum(len(files[line]) > 1 for line, _ in lines) / len(lines)


def test_lines_that_stand_in_two_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("# both\na: 1\n\nb: 2  # why\nb: 2  # why\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "two.yaml").write_text("# both\n\n  a: 1\nb: 2\n")
    assert repeated_share(tmp_path) == pytest.approx(2 / 5)


def test_few_lines_stand_in_two_files() -> None:
    assert repeated_share(CONF) <= LARGEST_SHARE


@contextmanager
def configs(*overrides: str, name: str = "config") -> Iterator[DictConfig]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield compose(name, [*overrides], return_hydra_config=True)


RECIPES = {
    ("mnistnet", "victim"): (20, 0.05, 0.9, "one_cycle", 1),
    ("mnistnet", "substitute"): (30, 0.1, 0.5, "plateau", 0),
    ("mnistnet", "privacy.measures.pate"): (20, 0.05, 0.9, "one_cycle", 1),
    ("resnet18", "victim"): (100, 0.1, 0.9, "one_cycle", 4),
    ("resnet18", "substitute"): (50, 0.1, 0.9, "one_cycle", 4),
    ("resnet18", "privacy.measures.pate"): (100, 0.1, 0.9, "one_cycle", 4),
}


@pytest.mark.parametrize(("network", "section"), RECIPES)
def test_a_network_is_trained_as_its_section_has_it(network: str, section: str) -> None:
    with configs(f"network@{section}={network}", "privacy=pate_svhn") as config:
        node = OmegaConf.select(config, section)
        assert node.architecture["_target_"].endswith(f".{network}")
        recipe = node.recipe
        told = (recipe.epochs, recipe.learning_rate, recipe.momentum, recipe.schedule)
        assert (*told, recipe.augmentation.shift) == RECIPES[network, section]


def test_a_value_or_a_recipe_of_ones_own_replaces_it() -> None:
    with configs("substitute.recipe.epochs=5", "victim.recipe.augmentation.shift=3") as config:
        assert (config.substitute.recipe.epochs, config.substitute.recipe.schedule) == (5, "plateau")
        assert (config.victim.recipe.epochs, config.victim.recipe.augmentation.shift) == (20, 3)
    with configs("recipe@substitute.recipe=small", "recipe@victim.recipe=residual") as config:
        assert (config.substitute.recipe.epochs, config.substitute.recipe.momentum) == (20, 0.9)
        assert (config.victim.recipe.epochs, config.victim.recipe.augmentation.shift) == (100, 4)


def test_the_misinformer_is_trained_like_the_victim() -> None:
    with configs("defense=adaptive_misinformation") as config:
        misinformer = config.defense.adaptive_misinformation.misinformer
        assert misinformer.architecture == config.victim.architecture
        assert misinformer.recipe.epochs == config.victim.recipe.epochs == 20


@pytest.mark.parametrize(
    ("argument", "known_as"),
    [
        ("victim=lenet5", "network@victim=lenet5"),
        ("substitute=resnet8,mnistnet", "network@substitute=resnet8,mnistnet"),
        ("victim={seed: 3}", "victim={seed: 3}"),
        ("victim.seed=3", "victim.seed=3"),
        ("network@victim=lenet5", "network@victim=lenet5"),
        ("+victim=lenet5", "+victim=lenet5"),
        ("attack=standard", "attack=standard"),
        ("-m", "-m"),
    ],
)
def test_a_network_is_chosen_by_its_part(argument: str, known_as: str) -> None:
    assert naming.network_overrides(["run.py", argument]) == ["run.py", known_as]


@pytest.mark.parametrize("command", ["run.py", "serve.py"])
def test_the_command_line_knows_networks_by_their_part(command: str) -> None:
    printed = run_program(command, "victim=resnet18", "substitute=lenet5", "--cfg", "job", "--resolve").stdout
    config = OmegaConf.create(printed)
    assert config.victim.architecture["_target_"].endswith(".resnet18")
    assert (config.victim.recipe.epochs, config.victim.checkpoint) == (100, None)
    assert config.substitute.architecture["_target_"].endswith(".lenet5")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of one's own with configs: an attack, lines that attacks share, and what is local."""
    for path, text in {
        "attack/mine.yaml": "defaults: [_mine]\nname: mine\nround_size: 50\n",
        "attack/_mine.yaml": "defaults: [entropy]\n",
        "local/default.yaml": "# @package _global_\n"
        "defaults: [override /hydra/launcher: slurm]\n"
        "paths: {data: /big}\n"
        "hydra: {launcher: {resources: {price: {partition: short}}}}\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_lists_are_made_from_the_folders_along_the_search_path(own: Path) -> None:
    ours = sorted(path.stem for path in (CONF / "attack").glob("[!_]*.yaml"))
    with configs() as config:
        assert naming.options("attack", _root_=config).split(",") == ours
        without = naming.options("attack", "maze", "random", _root_=config)
        assert without.split(",") == sorted({*ours} - {"maze", "random"})
    with configs(f"hydra.searchpath=[{own}]", "experiment=mnist_full") as config:
        assert config.hydra.sweeper.params.attack.split(",") == sorted({*ours, "mine"} - {"random"})


@pytest.mark.slow  # a whole sweep
def test_a_sweep_from_a_folder_of_ones_own(own: Path, tmp_path: Path) -> None:
    """An attack of one's own is in the grid of all attacks."""
    process = run_program(
        *("run.py", "-m", "experiment=all_attacks_digits", "logger=none", "--dry-run"),
        *(f"paths.output={tmp_path}/outputs", f"paths.store={tmp_path}/store", "--config-dir", str(own)),
    )
    assert process.returncode == 0, process.stderr
    attacks = len([*(CONF / "attack").glob("[!_]*.yaml")]) - len(["random"]) + len(["mine"])
    assert f"{attacks} cells" in process.stdout


def test_shared_lines_are_no_options(own: Path) -> None:
    printed = run_program("run.py", "--help", "--config-dir", str(own)).stdout
    listed = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
    assert {"mine", "random", "standard"} <= set(listed["attack"].split(", "))
    assert listed["privacy/measure"].split(", ")[0] == "entropy"
    assert not [option for options in listed.values() for option in options.split(", ") if option[:1] == "_"]
    process = run_program("run.py", "attack=jacobia")
    assert process.returncode == 1
    assert "jacobian_tr" in process.stderr and "_base" not in process.stderr


def test_shared_lines_are_no_attack() -> None:
    with configs("attack=_base") as config, pytest.raises(MissingMandatoryValue, match=r"attack\.name"):
        _ = config.attack.name


def test_what_is_local_counts_for_this_machine(own: Path) -> None:
    with configs() as config:
        assert config.paths.data == "data"
    with configs("experiment=mnist_full") as config:
        assert config.hydra.launcher["_target_"].endswith("LocalLauncher")
    with configs(f"hydra.searchpath=[{own}]", "experiment=mnist_full") as config:
        assert config.paths.data == "/big"
        assert config.hydra.launcher["_target_"].endswith("SlurmLauncher")
        assert config.hydra.launcher.resources.price.partition == "short"
    with configs(f"hydra.searchpath=[{own}]", "paths.data=here") as config:
        assert config.paths.data == "here"


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_debugging_is_small_and_in_process(dataset: str) -> None:
    with configs("debug=default", "experiment=mnist_full", f"dataset={dataset}") as config:
        assert config.dataset.name == dataset
        assert config.hydra.launcher["_target_"].endswith("InProcessLauncher")
        assert (config.logger, config.trainer.accelerator) == ({}, "cpu")
        assert config.victim.recipe.epochs == config.substitute.recipe.epochs == 1
        assert config.attack.budget == 40


def test_a_cell_is_debugged_in_seconds(tmp_path: Path) -> None:
    process = run_program(
        *("run.py", "debug=default", "attack=jacobian"),
        *(f"paths.store={tmp_path}/store", f"hydra.run.dir={tmp_path}/run"),
    )
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "run" / "result.json").exists()
