"""How the cells of a sweep stand: done, running, failed (with the last line of the error), pending.

With --wait it returns when nothing is under way any more, and takes over from a sweep whose command was
killed. It exits with 1 if cells failed or, with --wait, if any has no result.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from commands.parsing import packages_of, parser


def main(arguments: Sequence[str]) -> int:
    """Print the states, and wait if asked to."""
    parsing = parser("status", __doc__)
    parsing.add_argument("directory", type=Path, metavar="DIR", help="the sweep's folder")
    parsing.add_argument("--wait", action="store_true", help="until nothing is under way")
    parsing.add_argument("--all", action="store_true", help="list the done and the pending too")
    options = parsing.parse_args(arguments)
    # Asked before the imports, which take seconds.
    is_planned = (options.directory / ".tollgate" / "plan.json").is_file()
    is_submitits = not is_planned and (options.directory / ".submitit").is_dir()
    if is_submitits and options.wait:
        parsing.error("--wait is of sweeps with a plan, which Submitit's own launchers do not leave")
    if not is_planned and not is_submitits:
        parsing.error(f"{options.directory} is not the folder of a sweep (tollgate run -m ...)")
    with packages_of("sweeps"):
        from storage.errors import InputError
        from sweeps.launch.folder import SweepFolder
        from sweeps.launch.types import ClusterSilent
        from sweeps.status import show
        from sweeps.unplanned import show_unplanned
    try:
        if is_submitits:
            return 0 if show_unplanned(options.directory) else 1
        return 0 if show(SweepFolder(options.directory), options.wait, options.all) else 1
    except (ClusterSilent, InputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
