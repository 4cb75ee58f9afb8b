"""A recorded trace under a calibration: what it would have cost.

TRACE is a run's trace.parquet or a CSV in the format of the proof-of-work paper's authors. Overrides change
options of the calibration or the puzzle: puzzle=argon2id, pow_calibration.sided=one. Of a run's trace, what
is not said is what the run had, by the result.json beside it: data set, calibration, measure, expectation,
size of requests, price of an account. Otherwise the expectation is that of --benign (an honest user's trace
of either kind), else the calibration's or the data set's published one.
--out writes a row a request. Its columns queries, query_seconds, pow_seconds, total_seconds, overhead and
expected_hashes are cumulative as in curve.csv: the last row has the totals.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commands.parsing import options_of, packages_of, parser

EVADE = "the attacker's cheapest way to ask our trace's queries: a row a round, each for who stops there"

SHORT = {"strength": "pow_calibration.strength", "request_size": "pow_calibration.request_size"}
"""Flags that stand for an override of the config."""


def main(arguments: Sequence[str]) -> int:
    """Print the summary and write the rows; 1 with one clear sentence for what cannot be priced."""
    options = _parsed(arguments)
    out = options.pop("out")
    with packages_of("sweeps"):
        from hydra.errors import HydraException
        from rich.console import Console

        from pow.replay.asked import Replay
        from pow.replay.tables import bills, responses, summary
        from pow.replay.trace import replay
    asked = Replay(**options)
    try:
        rows = replay(asked)
        if out:
            rows.to_csv(out, index=False)
    except (ValueError, OSError, HydraException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    console = Console(width=110)
    console.print(summary(rows))
    if asked.evade != "none":
        console.print(responses(rows))
    if asked.hardware:
        console.print(bills(rows, asked.hardware))
    return 0


def _parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The options by the names of Replay's attributes, and `out`."""
    options = vars(_parser().parse_intermixed_args(arguments))
    short = {override: options.pop(name) for name, override in SHORT.items()}
    options["overrides"] += [f"{name}={value}" for name, value in short.items() if value is not None]
    return options


def _parser() -> argparse.ArgumentParser:
    parsing = parser("replay", __doc__)
    add = parsing.add_argument
    add("trace", type=Path, metavar="TRACE")
    add("overrides", nargs="*", metavar="key=value", help="overrides of the config")
    own = "default: the run's"
    add("--calibration", metavar="NAME", help=f"{own}, else paper; {_named('pow_calibration')}")
    add("--dataset", metavar="NAME", help=f"{own}, else mnist; {_named('dataset')}")
    add("--request-size", type=int, metavar="N", help="queries that are charged together")
    add("--strength", type=float, help="multiplies the toll")
    add("--cost", metavar="MEASURE", help=f"the measure of our traces that is charged; {own}, else pate")
    add("--accounts", type=int, metavar="N", help="share our traces' queries over so many accounts")
    add("--scope", choices=("account", "subnet", "global"), help=f"whose costs add up; {own}, else account")
    add("--subnet-size", type=int, metavar="N", default=256, help="accounts in a subnet")
    add("--evade", choices=("none", "pad", "split", "best"), default="none", help=EVADE)
    add("--account-seconds", type=float, metavar="S", help=f"price of an account; {own}, else 0")
    add("--patience-days", type=float, metavar="D", default=0.0, help="that --evade best waits")
    add("--surcharge", type=float, help="multiplies an account's toll from its alarm on")
    add(
        "--hardware",
        action="append",
        metavar="NAME",
        default=[],
        help=f"bill the work on it; may be given several times; {_named('hardware')}",
    )
    add("--benign", type=Path, metavar="FILE", help="an honest user's trace")
    add("--seed", type=int, default=0, help="of simulated honest users")
    add("--out", type=Path, metavar="FILE", help="CSV file for all rows")
    add("--config-dir", type=Path, metavar="DIR", help="a folder of one's own beside conf/")
    return parsing


def _named(group: str) -> str:
    return f"one of {', '.join(options_of(group))}"
