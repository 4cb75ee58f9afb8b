"""What the subcommands have in common: how options are read, and what is said of missing packages."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from storage.conf import CONF


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of a subcommand's options."""
    return argparse.ArgumentParser(
        prog=f"tollgate {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def options_of(group: str) -> list[str]:
    """The names of a config group's options."""
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml") if not path.stem.startswith("_"))


def number(valid: Callable[[float], bool], rule: str) -> Callable[[str], float]:
    """A type of argparse for finite numbers that are valid by a rule, which is said of others."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and valid(value)):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {rule}")
        return value

    return read


@contextmanager
def interruptible(command: Sequence[str], goes_on: bool) -> Iterator[None]:
    """Turn an interrupt at the terminal into one sentence, with the command to give again, and exit with 130.

    `goes_on` says whether that one loses nothing of what this one did.
    """
    try:
        yield
    except KeyboardInterrupt:
        what = "goes on where this stopped" if goes_on else "begins anew"
        print(f"error: interrupted; {shlex.join(command)} {what}", file=sys.stderr)
        raise SystemExit(130) from None


HASHES = number(lambda value: value >= 1, "of at least 1")
"""A type of argparse for a limit of hashes."""

MAX_HASHES = 2.0**40


@contextmanager
def packages_of(extra: str) -> Iterator[None]:
    """Exit with one sentence where an import within fails for a package that comes with the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        print(
            f"error: the package {missing} is not installed; pip install 'tollgate[{extra}]' brings it",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
