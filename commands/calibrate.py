"""A progressive calibration fitted to how a gate's accounts have used it.

LOG is a CSV of totals, a line an account, as `tollgate accounts export` writes it: columns queries and gain.
Leave out who is no honest user, for the toll would be fitted to thieves, too. No images are needed. It prints
the options that give a gate what was fitted, and for how many accounts its bounds hold that were not fitted
to. Overrides change what is fitted by: pow_calibration.within_allowance=0.8.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.parsing import options_of, packages_of, parser


def main(arguments: Sequence[str]) -> int:
    """Print what was fitted; 1 with one clear sentence for what cannot be fitted to."""
    options = _parser().parse_intermixed_args(arguments)
    with packages_of("sweeps"):
        from hydra.errors import HydraException

        from pow.usage import calibrate_to_usage
    try:
        lines = calibrate_to_usage(options.log, options.dataset, options.overrides, options.seed)
    except (ValueError, OSError, HydraException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parsing = parser("calibrate", __doc__)
    add = parsing.add_argument
    add("log", type=Path, metavar="LOG")
    add("overrides", nargs="*", metavar="key=value", help="overrides of the config")
    names = ", ".join(options_of("dataset"))
    add("--dataset", metavar="NAME", default="mnist", help=f"what a request takes: one of {names}")
    add("--seed", type=int, default=0, help="of the resampling of accounts")
    return parsing
