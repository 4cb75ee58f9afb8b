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
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException, ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from storage.errors import InputError

FULL_ERROR = "HYDRA_FULL_ERROR"

UNWRITABLE = (
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.EFBIG),
)
"""Why results cannot be written to where the config says."""

SHARED_LINES = re.compile(r"^\t_\w+\n", re.MULTILINE)
"""Where Hydra lists the options of a group: files of lines that options share, which are none themselves."""


SUGGESTS_ADDING = re.compile(r"\n?To append to your (config|default list) use .*")
"""Hydra's advice for a key that does not exist; what is added like that would be read by nobody."""

UNQUOTED = ("mismatched input '='", "LexerNoViableAlt", "token recognition error", "extraneous input")
"""What Hydra's parser says of signs that a value may hold in quotes only."""

READ_BY_NAME = ("attack", "dataset", "privacy", "query_pool")
"""Nodes whose options are read one by one, though some of them are made by classes."""

OPEN = ("hydra", "defense", "bills")
"""Nodes that take any name, and check it themselves."""


@contextmanager
def readable_errors(config_dir: Path, config_name: str = "config") -> Iterator[None]:
    """Turn an exception out of Hydra into its message and an exit code of 1.

    Mistakes in the configuration, the data or the output folder are said in a sentence; a wrong key is
    answered with the valid ones. Anything else, or all with HYDRA_FULL_ERROR=1, shows its traceback.
    """
    asked_for_all = os.environ.get(FULL_ERROR, "0") != "0"
    os.environ[FULL_ERROR] = "1"  # Hydra then raises instead of printing and exiting by itself
    try:
        _refuse_added(sys.argv[1:], config_dir, config_name)
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
            f"cannot write to {error.filename}: {error.strerror}; hydra.run.dir, hydra.sweep.dir, "
            "paths.output and paths.store say where files go"
        )
    cause = error.__cause__
    said = f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error)
    said = SUGGESTS_ADDING.sub("", SHARED_LINES.sub("", said))
    if any(sign in said for sign in UNQUOTED):
        said += (
            "\nA value with signs such as = or letters beyond ASCII needs quotes of its own: 'key=\"a=b\"'"
        )
    return said


def wrong_key_hints(arguments: Sequence[str], config_dir: Path, config_name: str = "config") -> list[str]:
    """For each override that names no key of the config, a sentence with the keys that are valid there."""
    keys = [o.key_or_group for o in _parsed(arguments) if not _adds(o) and not o.is_delete()]
    config = _config_of(arguments, config_dir, config_name)
    return [hint for key in keys if config and (hint := _hint(config, key, config_dir))]


def _refuse_added(arguments: Sequence[str], config_dir: Path, config_name: str) -> None:
    """Raise InputError for an override with + that adds an option which nobody reads."""
    keys = [o.key_or_group for o in _parsed(arguments) if _adds(o)]
    if not keys or (config := _config_of(arguments, config_dir, config_name)) is None:
        return
    folders = [config_dir, *_added_folder(arguments)]
    elsewhere = any(argument.startswith("hydra.searchpath=") for argument in arguments)
    groups = [key for key in keys if elsewhere or any((folder / key).is_dir() for folder in folders)]
    unread = [key for key in keys if key not in groups and _is_unread(config, key)]
    hints = [hint for key in unread if (hint := _hint(config, key, config_dir))]
    if hints:
        raise InputError("\n".join(hints))


def _adds(override: Override) -> bool:
    return bool(override.is_add() or override.is_force_add())


def _is_unread(config: DictConfig, key: str) -> bool:
    """Whether an option of this name, which the config lacks, is none: where no class takes or refuses it."""
    first, *rest = key.split(".")
    node = config.get(first)
    if first in OPEN or len(rest) > 1:
        return False
    if not rest:
        return node is None
    is_made_by_a_class = isinstance(node, DictConfig) and any(
        name == "_target_" or (isinstance(each, DictConfig) and "_target_" in each)
        for name, each in node.items_ex(resolve=False)
    )
    return isinstance(node, DictConfig) and (first in READ_BY_NAME or not is_made_by_a_class)


def _parsed(arguments: Sequence[str]) -> list[Override]:
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except CompactHydraException:
        return []


def _config_of(arguments: Sequence[str], config_dir: Path, config_name: str) -> DictConfig | None:
    """The config with each group that is chosen, since the valid keys depend on it; None without one."""
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    added = _added_folder(arguments)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        try:
            chosen = _groups_chosen(overrides, [config_dir, *added])
            chosen += [f"hydra.searchpath=[file://{folder.absolute()}]" for folder in added]
            return compose(config_name, chosen, return_hydra_config=True)
        except CompactHydraException:
            return None


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
