"""Configs of a grid's cells are those that Hydra composes one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import ConfigCompositionException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict

from experiment import naming
from support.commands import ROOT
from sweeps.grid.compose import GridComposer, hydra_loader, master_config

CHOICES = [
    *(
        "attack=knockoff",
        "attack=jacobian",
        "attack=dfme",
        "defense=none",
        "dataset=mnist",
        "network@victim=resnet8",
    ),
    *("pow_calibration=fitted", "puzzle=argon2id", "hardware@honest_hardware=phone", "query_pool=cifar10"),
    *("network@substitute=resnet8", "network@privacy.measures.pate=resnet10", "privacy=pate_svhn"),
]
VALUES = [
    *("seed=3", "attack.budget=70", "attack.budget=90", "pow_calibration.strength=4", "paths.data=elsewhere"),
    *("attack.budget=${attack.round_size}", "+attack.more=1", "~privacy.measures.pate", "victim.seed=9"),
    *("substitute.recipe.epochs=5", "defense=[adaptive_misinformation,pow]"),
    *("victim.recipe={epochs: 3}", "dataset.benign_cost=null", "+new={a: 1}", "attack.knows=[cost]"),
]


@pytest.fixture(scope="module")
def hydra_parts() -> Iterator[tuple[ConfigLoaderImpl, DictConfig]]:
    with hydra_loader(ROOT / "conf") as loader:
        yield loader, master_config(loader, ["attack=standard,knockoff"])


@pytest.fixture(scope="module")
def composer(hydra_parts: tuple[ConfigLoaderImpl, DictConfig]) -> GridComposer:
    """One for all examples: what it keeps of one must not show in another."""
    return GridComposer(*hydra_parts)


def by_hydra(
    parts: tuple[ConfigLoaderImpl, DictConfig], overrides: list[str], number: int
) -> tuple[object, str]:
    loader, master = parts
    config = loader.load_sweep_config(master, overrides)
    with open_dict(config):
        config.hydra.job.num, config.hydra.job.id = number, "id"
        folder = str(config.hydra.sweep.subdir)
        del config["hydra"]
    return OmegaConf.to_container(config, resolve=True), folder


def of_one_key_each(overrides: list[str]) -> bool:
    keys = [override.lstrip("+~").split("=")[0] for override in overrides]
    return len(set(keys)) == len(keys)


@pytest.mark.slow  # Hydra composes each anew
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(CHOICES), max_size=3, unique=True).filter(of_one_key_each),
    st.lists(st.sampled_from(VALUES), max_size=4, unique=True).filter(of_one_key_each),
    st.integers(0, 5),
)
def test_a_cell_is_what_hydra_composes(
    hydra_parts: tuple[ConfigLoaderImpl, DictConfig],
    composer: GridComposer,
    choices: list[str],
    values: list[str],
    number: int,
) -> None:
    composed = composer.compose([*choices, *values], number)
    config, folder = by_hydra(hydra_parts, [*choices, *values], number)
    assert composed.config == config
    assert composed.subdir("id") == folder


@pytest.mark.parametrize("wrong", ["attack.budgt=3", "atack=knockoff", "nothing.here=1"])
def test_a_wrong_key_is_refused_at_any_time(composer: GridComposer, wrong: str) -> None:
    composer.compose(["seed=1"], 0)
    for _ in range(2):
        with pytest.raises(ConfigCompositionException):
            composer.compose(["seed=1", wrong], 0)


def test_the_same_command_names_the_same_folder() -> None:
    one = naming.sweep_name(["attack=a,b", "seed=0,1", "paths.store=/x", "logger=none"])
    assert one == naming.sweep_name(["seed=0,1", "attack=a,b", "paths.store=/y"])
    assert one != naming.sweep_name(["seed=0,2", "attack=a,b"])
    digest = one.rsplit("-", 1)[1]
    assert naming.sweep_name(["seed=1,0", "attack=b,a"]).endswith(digest), "values have no order"
    stacks = [naming.sweep_name([f"defense={stacked},none"]) for stacked in ("[a,b]", "[b,a]")]
    assert len({name.rsplit("-", 1)[1] for name in stacks}) == 2, "stacked defenses have one"
    plain, swapped = naming.sweep_name(["+more={a: 1, b: 2}"]), naming.sweep_name(["+more={b: 2, a: 1}"])
    assert plain != swapped, "no sweep over values"
    assert one.startswith("attack=a_b_seed=0_1-")
    assert Path(naming.sweep_name([f"a.b={'x/' * 300}"])).name == naming.sweep_name([f"a.b={'x/' * 300}"])
    assert len(naming.sweep_name([f"a={'x' * 300}"])) < 100
