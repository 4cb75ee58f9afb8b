"""Sends to Weights & Biases what has not arrived: offline runs, and curves that its service was lost with.

Cells note beside their results whether their runs have arrived (`wandb.json`). Offline runs are sent by
`wandb sync`; of others, and where those are gone, a run is made anew of the cell's own files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from commands.parsing import packages_of, parser


def main(arguments: Sequence[str]) -> int:
    """Send the runs and say how many; 1 where some could not be sent."""
    parsing = parser("sync", __doc__)
    parsing.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of sweeps or of cells")
    options = parsing.parse_args(arguments)
    if missing := [str(folder) for folder in options.folders if not folder.is_dir()]:
        parsing.error(f"there is no folder {', '.join(missing)}")
    with packages_of("sweeps"):
        from experiment.tracking.wandb_service import has_wandb_key
        from sweeps.tracking.sync import send, waiting
    left = [folder for given in options.folders for folder in waiting(given)]
    if not left:
        print("every run that was followed has arrived")
        return 0
    if not has_wandb_key():
        print(
            f"error: {len(left)} runs wait, and no key of Weights & Biases is set (WANDB_API_KEY or "
            "wandb login)",
            file=sys.stderr,
        )
        return 1
    troubles = dict(send(left))
    print(f"{sum(not trouble for trouble in troubles.values())} of {len(left)} runs sent")
    for folder, trouble in troubles.items():
        if trouble:
            print(f"error: {folder}: {trouble}", file=sys.stderr)
    return 1 if any(troubles.values()) else 0
