"""What `sweeps.grid.hydra_internals` relies on in Hydra; a test that fails says what has changed.

Hydra does not promise to keep these. If one fails after an update of Hydra, sweeps/grid/hydra_internals.py is
the one file to adapt; tests/sweeps/grid/test_compose.py then shows whether cells are composed as Hydra does.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hydra import __version__
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.default_element import GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from storage.conf import CONF
from sweeps.grid import hydra_internals
from sweeps.grid.compose import hydra_loader, master_config


def changed(what: str) -> str:
    return f"Hydra {__version__} has changed {what}; adapt sweeps/grid/hydra_internals.py"


SIGNATURES: list[tuple[Callable[..., Any], list[str]]] = [
    (ConfigLoaderImpl.load_configuration, ["self", "config_name", "overrides", "run_mode"]),
    (ConfigLoaderImpl.load_sweep_config, ["self", "master_config", "sweep_overrides"]),
    (ConfigLoaderImpl._apply_overrides_to_config, ["overrides", "cfg"]),
    (defaults_list._create_interpolation_map, ["overrides", "defaults_list", "self_added"]),
    (CachingConfigRepository.__init__, ["self", "delegate"]),
    (CachingConfigRepository.load_config, ["self", "config_path"]),
    (BasicSweeper.__init__, ["self", "max_batch_size", "params"]),
    (BasicSweeper.validate_batch_is_legal, ["self", "batch"]),
    (BasicSweeper.sweep, ["self", "arguments"]),
]


@pytest.mark.parametrize(
    ("function", "expected"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", "")
)
def test_functions_take_what_they_are_given(function: Callable[..., Any], expected: list[str]) -> None:
    found = list(inspect.signature(function).parameters)
    assert found[: len(expected)] == expected, changed(f"the parameters of {function.__qualname__}: {found}")


@pytest.fixture(scope="module")
def loader() -> Iterator[ConfigLoaderImpl]:
    with hydra_loader(CONF) as loader:
        yield loader


def test_a_loader_reads_through_its_repository(loader: ConfigLoaderImpl) -> None:
    """The attribute `repository` is what compositions read from; they copy it, and change what they get."""
    cached = hydra_internals.caching_loader(loader)
    assert isinstance(cached.repository, CachingConfigRepository), changed("ConfigLoaderImpl.repository")
    assert loader.repository is not cached.repository
    repository: Any = cached.repository
    assert copy.deepcopy(repository) is repository
    assert master_config(cached) == master_config(loader), changed("how a repository is read")
    assert "config" in repository.pickled, changed("that compositions read through load_config")
    first, second = (repository.load_config("config").config for _ in range(2))
    assert first == second and first is not second


def test_files_are_read_once(loader: ConfigLoaderImpl) -> None:
    cached = hydra_internals.caching_loader(loader)
    master = master_config(cached)
    read: list[str] = []
    repository: Any = cached.repository
    really = repository.delegate.load_config

    def load_config(config_path: str) -> Any:
        read.append(config_path)
        return really(config_path)

    repository.delegate.load_config = load_config
    cached.load_sweep_config(master, ["attack=knockoff"])
    cached.load_sweep_config(master, ["attack=knockoff", "seed=3"])
    assert "attack/knockoff" in read, changed("the names under which files are read")
    assert len(read) == len(set(read)), changed("what is copied for each composition")


def test_a_defaults_list_without_interpolations_needs_no_map(loader: ConfigLoaderImpl) -> None:
    """The map is asked for in each list, by a global name, and is used for interpolations alone."""
    master = master_config(loader)
    whole = loader.load_sweep_config(master, ["attack=knockoff", "dataset=mnist"])
    prepare = defaults_list._create_interpolation_map
    with hydra_internals.few_interpolation_maps():
        assert defaults_list._create_interpolation_map is not prepare
        quick = loader.load_sweep_config(master, ["attack=knockoff", "dataset=mnist"])
    assert defaults_list._create_interpolation_map is prepare
    assert quick == whole, changed("what defaults lists use the map of interpolations for")
    source = inspect.getsource(defaults_list._create_defaults_tree_impl)
    assert "_create_interpolation_map(" in source, changed("where the map of interpolations is made")
    for value, expected in {"b": False, "${b}": True}.items():
        default = GroupDefault(group="a", value=value, parent_base_dir="")
        assert default.is_interpolation() == expected, changed("is_interpolation of a default")


def test_the_map_is_put_back_after_an_error() -> None:
    prepare = defaults_list._create_interpolation_map
    with pytest.raises(RuntimeError), hydra_internals.few_interpolation_maps():
        raise RuntimeError
    assert defaults_list._create_interpolation_map is prepare


def test_values_are_put_in_as_hydra_does() -> None:
    config = OmegaConf.create({"a": {"b": 1, "c": 2}})
    OmegaConf.set_struct(config, True)
    parser = OverridesParser.create()
    hydra_internals.put_in(parser.parse_overrides(["a.b=3", "~a.c", "+d={e: 4}"]), config)
    assert config == {"a": {"b": 3}, "d": {"e": 4}}, changed("how overrides of values are applied")
    with pytest.raises(ConfigCompositionException):
        hydra_internals.put_in(parser.parse_overrides(["a.nothing=3"]), config)


def test_a_sweeper_gives_the_launcher_the_whole_grid() -> None:
    parser = OverridesParser.create()
    (grid,) = BasicSweeper.split_arguments(parser.parse_overrides(["a=1,2", "b=3"]), None)
    assert [list(cell) for cell in grid] == [["a=1", "b=3"], ["a=2", "b=3"]], changed("how a grid is made")
    source = inspect.getsource(BasicSweeper.sweep)
    assert "self.validate_batch_is_legal(batch)" in source, changed("where a sweeper composes its cells")


def test_no_other_file_knows_hydras_internals() -> None:
    folders = ("commands", "experiment", "hydra_plugins", "pow", "sweeps", "storage")
    files = [path for folder in folders for path in (CONF.parent / folder).rglob("*.py")]
    knowing = [path.name for path in files if "hydra._internal" in path.read_text()]
    assert knowing == ["hydra_internals.py"]
