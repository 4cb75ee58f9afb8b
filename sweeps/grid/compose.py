"""The resolved config of each cell of a grid, thousands of them in seconds.

Hydra takes a fifth of a second to compose a config. The cells of a grid mostly differ in values
(`seed=1`) and in few choices of options (`attack=knockoff`), so each set of choices is composed once, by
Hydra, and what the values change is resolved section by section: a section is computed again only for
values that it reads, directly or through the sections that it interpolates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from experiment.keys import Config
from sweeps.grid.hydra_internals import (
    ConfigLoaderImpl,
    caching_loader,
    few_interpolation_maps,
    override_dirname,
    put_in,
)

REFERENCE = re.compile(r"\$\{(\.*)([^}:$]*)(:?)")
"""An interpolation: its leading dots, the path it reads, and a colon where it calls a resolver."""

SIMPLE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Composed:
    """A cell's resolved config; `subdir` is its folder in the sweep's, given its hydra.job.id."""

    config: Config
    subdir: Callable[[str], str]


@contextmanager
def hydra_loader(config_dir: Path) -> Iterator[ConfigLoaderImpl]:
    """Hydra's loader of the configs in a folder, for a program that is no Hydra application."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        yield loader


def master_config(loader: ConfigLoaderImpl, overrides: Sequence[str] = ()) -> DictConfig:
    """The config of a sweep before its cells' own overrides."""
    return loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)


class GridComposer:
    """Composes cells of one sweep, given by their overrides."""

    def __init__(self, loader: ConfigLoaderImpl, master: DictConfig) -> None:
        self.loader = caching_loader(loader)
        self.master = master
        self.parser = OverridesParser.create(config_loader=loader)
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._resolved: dict[tuple[Any, ...], Any] = {}
        self._parsed: dict[str, tuple[Override, bool]] = {}

    def compose(self, overrides: Sequence[str], number: int) -> Composed:
        """The config of the `number`-th cell of the sweep; raises what Hydra raises for wrong overrides."""
        parsed = [self._parse(override) for override in overrides]
        choices = tuple(override.input_line or "" for override, chooses in parsed if chooses)
        if choices not in self._bases:
            with few_interpolation_maps():
                composed = self.loader.load_sweep_config(self.master, list(choices))
            self._bases[choices] = _Base(composed, self._resolved)
        base = self._bases[choices]
        config = base.resolve([override for override, chooses in parsed if not chooses], number)
        return Composed(config, partial(base.subdir, config, [override for override, _ in parsed], number))

    def _parse(self, text: str) -> tuple[Override, bool]:
        """The override, and whether it must be composed by Hydra: a choice, or a change of the structure."""
        if text not in self._parsed:
            override = self.parser.parse_override(text)
            is_group = self.loader.repository.group_exists(override.key_or_group)
            chooses = is_group and not isinstance(override.value(), dict)
            structural = "." not in override.key_or_group and (override.is_add() or override.is_delete())
            self._parsed[text] = override, chooses or structural or "${" in text
        return self._parsed[text]


class _Base:
    """One composition by Hydra; its sections are resolved for values beside it.

    `resolved` are sections that were, of this or another composition that is equal in all that they read.
    """

    def __init__(self, composed: DictConfig, resolved: dict[tuple[Any, ...], Any]) -> None:
        self.hydra: Config = OmegaConf.to_container(composed.hydra, resolve=False)  # type: ignore[assignment]
        with open_dict(composed):
            del composed["hydra"]
        self.config = composed
        self.raw: Config = OmegaConf.to_container(composed, resolve=False)  # type: ignore[assignment]
        self.reads = _transitive({name: _reads(name, node) for name, node in self.raw.items()})
        texts = {name: json.dumps(node, sort_keys=True) for name, node in self.raw.items()}
        self.told_by = {
            name: "".join(texts[read] for read in sorted(reads & texts.keys()))
            for name, reads in self.reads.items()
        }
        self._resolved = resolved
        self._working, self._written = composed, [("", False)]

    def resolve(self, values: Sequence[Override], number: int) -> Config:
        complete: DictConfig | None = None
        result = {}
        for section, reads in self.reads.items():
            relevant = tuple(v.input_line for v in values if v.key_or_group.split(".")[0] in reads)
            key = (section, self.told_by[section], relevant, number if "hydra" in reads else None)
            if key not in self._resolved:
                complete = self._with(values) if complete is None else complete
                self._resolved[key] = _plain(complete, section)
            result[section] = self._resolved[key]
        if complete is None and any(v.key_or_group.split(".")[0] not in self.reads for v in values):
            self._with(values)  # which raises for a key that does not exist
        return result

    def _with(self, values: Sequence[Override]) -> DictConfig:
        """The composition with the values put in.

        Where only plain values differ from those put in before, they are written over them: a copy costs
        more than all the rest.
        """
        keys = [(value.key_or_group, _is_plain(value)) for value in values]
        if keys != self._written or not all(plain for _, plain in keys):
            self._working, self._written = self.config.copy(), keys
        put_in(values, self._working)
        return self._working

    def subdir(self, config: Config, overrides: Sequence[Override], number: int, job: str) -> str:
        """The folder that hydra.sweep.subdir names for this cell."""
        named = override_dirname(overrides, self.hydra["job"]["config"]["override_dirname"])
        told = self.hydra["job"] | {"id": job, "num": number, "override_dirname": named}
        runtime = {"choices": self.hydra["runtime"]["choices"]}
        task = [override.input_line for override in overrides]
        hydra = {"job": told, "runtime": runtime, "overrides": {"task": task}}
        template = str(self.hydra["sweep"]["subdir"])
        known = SIMPLE.sub(lambda match: _lookup(match, config | {"hydra": hydra}), template)
        if "${" not in known:
            return known
        return str(OmegaConf.create({**config, "hydra": hydra, "subdir": template}).subdir)


def _lookup(reference: re.Match[str], config: Config) -> str:
    """The value that a simple reference names, or the reference itself where it names none."""
    node: Any = config
    for key in reference[1].split("."):
        if not isinstance(node, dict) or key not in node:
            return reference[0]
        node = node[key]
    return reference[0] if isinstance(node, dict | list) else str(node)


def _is_plain(override: Override) -> bool:
    """Whether the override gives a value to what has one."""
    changes = override.is_add() or override.is_force_add() or override.is_delete()
    return not changes and not isinstance(override.value(), dict | list)


def _plain(config: DictConfig, section: str) -> Any:
    node = config[section]
    return (
        OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        if OmegaConf.is_config(node)
        else node
    )


def _reads(section: str, node: Any) -> set[str]:
    """The sections that the interpolations in a section's raw node read, and itself."""
    reads = {section}
    for depth, text in _texts(node, 1):
        for dots, path, calls in REFERENCE.findall(text):
            if calls and path != "hydra":
                continue
            if len(dots) == 0 or len(dots) == depth:
                reads.add(path.split(".")[0])
    return reads


def _texts(node: Any, depth: int) -> Iterator[tuple[int, str]]:
    """Each string in a raw node, with the number of keys that lead to it."""
    if isinstance(node, dict):
        for value in node.values():
            yield from _texts(value, depth + 1)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, depth + 1)
    elif isinstance(node, str):
        yield depth, node


def _transitive(reads: dict[str, set[str]]) -> dict[str, set[str]]:
    """What each section reads through others too."""
    closed = {name: set(found) for name, found in reads.items()}
    changed = True
    while changed:
        changed = False
        for found in closed.values():
            more = set().union(*(closed.get(name, set()) for name in found)) - found
            found |= more
            changed |= bool(more)
    return closed
