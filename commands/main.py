"""The command `tollgate`: chooses the subcommand."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from commands.parsing import interruptible

SUBCOMMANDS = {
    "run": "one cell, or with -m a grid of cells: attack a victim and price what was asked",
    "plan": "what such a run would do; nothing runs",
    "status": "how the cells of a sweep stand",
    "report": "tables, plots and a page of finished cells",
    "replay": "what a recorded trace would have cost under another calibration",
    "explain": "what queries cost, and why",
    "serve": "a victim behind the gate: who asks it pays with work",
    "ask": "ask a gate about a picture, and pay",
    "accounts": "add and remove a gate's accounts, rotate its signing keys",
    "calibrate": "a calibration fitted to how a gate's accounts have used it",
    "hash-rate": "how fast this machine solves puzzles; as a profile if asked for",
    "sync": "send to Weights & Biases what has not arrived there",
    "workspace": "a saved workspace on Weights & Biases",
}
"""Each subcommand and what it does; it is the function `main` of the module of its name."""


GO_ON = ("run", "status", "ask", "sync", "serve")
"""Subcommands that lose nothing when they are interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand that the arguments name; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    name = given[0] if given else "--help"
    if name in ("--help", "-h"):
        print(overview())
        return 0
    if name == "--version":
        print(f"tollgate {version('tollgate')}")
        return 0
    if name not in SUBCOMMANDS:
        close = difflib.get_close_matches(name, SUBCOMMANDS, 1)
        guess = f" Did you mean {close[0]}?" if close else ""
        print(f"error: tollgate has no subcommand {name!r}.{guess}\n\n{overview()}", file=sys.stderr)
        return 2
    with interruptible(["tollgate", *given], name in GO_ON):
        module = importlib.import_module(f"commands.{name.replace('-', '_')}")
        code: int = module.main(given[1:])
        return code


def overview() -> str:
    """The subcommands, a line each."""
    lines = [f"  {name:10} {what}" for name, what in SUBCOMMANDS.items()]
    return "\n".join(["usage: tollgate SUBCOMMAND ...; each explains itself with --help", "", *lines])
