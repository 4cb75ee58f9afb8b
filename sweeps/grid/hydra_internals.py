"""The one place that uses what Hydra does not promise to keep: names under `hydra._internal`.

Hydra composes a config in a fifth of a second, and its public functions compose no faster. A grid of
thousands of cells needs two things from inside: each file of the config is read and parsed once, and
defaults lists without interpolations are not prepared for them. tests/sweeps/grid/test_hydra_internals.py
checks each name and each behaviour that is relied on here, and says which one a new Hydra has changed.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

__all__ = [
    "BasicSweeper",
    "ConfigLoaderImpl",
    "caching_loader",
    "few_interpolation_maps",
    "override_dirname",
    "put_in",
]


def caching_loader(loader: ConfigLoaderImpl) -> ConfigLoaderImpl:
    """The same loader, which reads and parses each file of the config once."""
    cached = copy(loader)
    cached.repository = _ReadOnce(loader.repository)  # type: ignore[assignment] # it has the same methods
    return cached


class _ReadOnce(CachingConfigRepository):
    """Reads and parses each file of the config once; Hydra changes what it is given, so it gets copies."""

    def __init__(self, delegate: IConfigRepository) -> None:
        super().__init__(delegate)
        self.pickled: dict[str, bytes] = {}  # unpickling copies twice as fast as deepcopy

    def __deepcopy__(self, memo: dict[int, Any]) -> _ReadOnce:
        """Itself: Hydra copies its repository for each composition, and would read all files again."""
        return self

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A copy of the parsed file."""
        if config_path not in self.pickled:
            self.pickled[config_path] = pickle.dumps(self.delegate.load_config(config_path))
        result: ConfigResult | None = pickle.loads(self.pickled[config_path])
        return result


@contextmanager
def few_interpolation_maps() -> Iterator[None]:
    """Hydra meanwhile prepares to resolve interpolations only in those defaults lists that hold any.

    It does so in each of some forty lists of a composition, of which one or none does: a third of its time.
    """
    prepare = defaults_list._create_interpolation_map

    def prepare_if_needed(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig | None:
        if any(default.is_interpolation() for default in defaults):
            return prepare(overrides, defaults, self_added)
        return None

    defaults_list._create_interpolation_map = prepare_if_needed  # type: ignore[assignment] # None is unused
    try:
        yield
    finally:
        defaults_list._create_interpolation_map = prepare


def put_in(overrides: Sequence[Override], config: DictConfig) -> None:
    """Put the values of overrides in the config, as Hydra does; raises what it raises for wrong ones."""
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def override_dirname(overrides: Sequence[Override], settings: Mapping[str, Any]) -> str:
    """The folder name that Hydra makes of overrides, by `hydra.job.config.override_dirname`."""
    return get_overrides_dirname(
        overrides=list(overrides),
        exclude_keys=list(settings["exclude_keys"]),
        item_sep=settings["item_sep"],
        kv_sep=settings["kv_sep"],
    )
