"""How fast this machine solves and checks each kind of puzzle; as a profile of one of its cores if asked for.

    tollgate hash-rate --out conf/hardware/NAME.yaml --watts 4.5 --usd-per-hour 0.00074

Rates are of puzzles with standard options. A profile has the fastest solver's rate of one core for each kind,
with all cores busy if that is faster. PyTorch's kernel for sha256, with one thread and with all, takes a
minute each to compile when its cache is cold; --no-compiled leaves it out. Power and price of a core are not
measured, so a profile needs them named.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.parsing import number, packages_of, parser


def main(arguments: Sequence[str]) -> int:
    """Print the rates and write the profile; 1 with one clear sentence where that fails."""
    options = _parsed(arguments)
    with packages_of("sweeps"):
        from rich.console import Console

        from pow import hash_rate
    try:
        measured = hash_rate.measure(options.seconds, options.compiled)
        Console(width=100).print(hash_rate.table(measured))
        if options.out is not None:
            node = hash_rate.profile(measured, options.name, options.watts, options.usd_per_hour)
            hash_rate.write_profile(options.out, node)
    except (OSError, RuntimeError) as error:
        print("error: " + str(error).partition("\n")[0], file=sys.stderr)
        return 1
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command's options; ends the program with a line that names the option for what makes no sense."""
    parsing = parser("hash-rate", __doc__)
    above_0 = number(lambda value: value > 0, "above 0")
    at_least_0 = number(lambda value: value >= 0, "of at least 0")
    parsing.add_argument("--seconds", type=above_0, default=3.0, help="of each measurement")
    parsing.add_argument("--out", type=Path, help="write a profile of one core to this YAML file")
    parsing.add_argument("--name", help="the profile's name; the file's, without .yaml, unless given")
    parsing.add_argument("--watts", type=at_least_0, help="a core's power while it hashes")
    parsing.add_argument("--usd-per-hour", type=at_least_0, help="a core's rent, or its electricity")
    parsing.add_argument(
        "--compiled", action=argparse.BooleanOptionalAction, default=True, help="PyTorch's kernel too"
    )
    options = parsing.parse_args(arguments)
    if options.out is not None:
        _check_profile(parsing, options)
    return options


def _check_profile(parsing: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Before anything is measured, and the name if none was given."""
    options.name = options.out.stem if options.name is None else options.name
    if options.out.suffix != ".yaml" or not options.out.absolute().parent.is_dir() or options.out.is_dir():
        parsing.error(f"argument --out: {options.out} is not a .yaml file in a folder that exists")
    if not re.fullmatch(r"[A-Za-z0-9_]+", options.name):
        parsing.error(f"argument --name: {options.name!r} is not made of letters, digits and underscores")
    for option in ("watts", "usd_per_hour"):
        if getattr(options, option) is None:
            dashed = option.replace("_", "-")
            parsing.error(f"argument --{dashed}: a profile needs it; 0 leaves it out of the bill")
