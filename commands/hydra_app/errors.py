"""Errors at the command line: one clear sentence, and what would have been valid."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException, ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

FULL_ERROR = "HYDRA_FULL_ERROR"

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""Why results cannot be written to where the config says."""

SHARED_LINES = re.compile(r"^\t_\w+\n", re.MULTILINE)
"""Where Hydra lists the options of a group: files of lines that options share, which are none themselves."""


@contextmanager
def readable_errors(config_dir: Path, config_name: str = "config") -> Iterator[None]:
    """Turn an exception out of Hydra into its message and an exit code of 1.

    Mistakes in the configuration, the data or the output folder are said in a sentence; a wrong key is
    answered with the valid ones. Anything else, or all with HYDRA_FULL_ERROR=1, shows its traceback.
    """
    asked_for_all = os.environ.get(FULL_ERROR, "0") != "0"
    os.environ[FULL_ERROR] = "1"  # Hydra then raises instead of printing and exiting by itself
    try:
        yield
    except (CompactHydraException, OmegaConfBaseException, MarkedYAMLError, OSError) as error:
        if asked_for_all or not _is_the_users(error):
            raise
        print(f"error: {_message(error)}", file=sys.stderr)
        if isinstance(error, ConfigCompositionException | OmegaConfBaseException):
            for hint in wrong_key_hints(sys.argv[1:], config_dir, config_name):
                print(hint, file=sys.stderr)
        raise SystemExit(1) from None


def _is_the_users(error: BaseException) -> bool:
    """Whether an error is of what was asked for: of files only those that cannot be written."""
    if not isinstance(error, OSError) or isinstance(error, CompactHydraException):
        return True
    made_by = traceback.extract_tb(error.__traceback__)[-1].name
    return error.errno in UNWRITABLE or (error.errno == errno.ENOENT and made_by == "mkdir")


def _message(error: BaseException) -> str:
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        return f"{mark.name} is no YAML: line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    if isinstance(error, OSError) and not isinstance(error, CompactHydraException):
        return (
            f"cannot write to {error.filename}: {error.strerror}; hydra.run.dir, hydra.sweep.dir and "
            "paths.output say where results go"
        )
    cause = error.__cause__
    said = f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error)
    return SHARED_LINES.sub("", said)


def wrong_key_hints(arguments: Sequence[str], config_dir: Path, config_name: str = "config") -> list[str]:
    """For each override that names no key of the config, a sentence with the keys that are valid there."""
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    added = _added_folder(arguments)
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except CompactHydraException:
        return []
    keys = [o.key_or_group for o in parsed if not o.is_add() and not o.is_force_add() and not o.is_delete()]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        # Each group that is chosen is composed in, since the valid keys depend on it.
        try:
            chosen = _groups_chosen(overrides, [config_dir, *added])
            chosen += [f"hydra.searchpath=[file://{folder.absolute()}]" for folder in added]
            config = compose(config_name, chosen, return_hydra_config=True)
        except CompactHydraException:
            return []
    return [hint for key in keys if (hint := _hint(config, key, config_dir))]


def _added_folder(arguments: Sequence[str]) -> list[Path]:
    """The folder that --config-dir adds to the config, if it does."""
    return [Path(value) for flag, value in pairwise(arguments) if flag in ("--config-dir", "-cd")]


def _groups_chosen(overrides: Sequence[str], folders: Sequence[Path]) -> list[str]:
    pairs = (override.split("=", 1) for override in overrides)
    return [f"{group}={value}" for group, value in pairs if _is_option(folders, group, value)]


def _is_option(folders: Sequence[Path], group: str, value: str) -> bool:
    """Whether the value is an option of the group, or several of them as in `[rounding,pow]`."""
    names = value[1:-1].split(",") if value.startswith("[") else [value]
    files = [f"{group.split('@')[0]}/{name.strip()}.yaml" for name in names]
    return all(any((folder / file).exists() for folder in folders) for file in files)


def _hint(config: DictConfig, key: str, config_dir: Path) -> str | None:
    if "@" in key or (config_dir / key).is_dir():
        return None
    node: object = config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return None
        if part not in node:
            valid = sorted(str(name) for name in node if name != "hydra")
            where = ".".join(parts[:depth]) or "the config"
            close = difflib.get_close_matches(part, valid, 1)
            guess = f" Did you mean {'.'.join([*parts[:depth], close[0]])}?" if close else ""
            return f"{key}: there is no {part!r} in {where}.{guess} Valid: {', '.join(valid)}"
        leads_on = depth + 1 < len(parts) and not OmegaConf.is_missing(node, part)
        node = node[part] if leads_on else None
    return None
