"""Sends to Weights & Biases what has not arrived: offline runs, and curves that its service was lost with.

Cells note beside their results whether their runs have arrived (`wandb.json`). A run that has not is made
anew of the cell's own files, and W&B's offline files of it are marked as sent.
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
        from sweeps.tracking.sync import followed, send, waits
    known = {path: it for given in options.folders for path, it in followed(given.resolve()).items()}
    if not known:
        parsing.error(f"no run below {', '.join(map(str, options.folders))} was followed by Weights & Biases")
    left = {path: arrival for path, arrival in known.items() if waits(path, arrival)}
    if not left:
        print("every run that was followed has arrived, or still sends its own curve")
        return 0
    if not has_wandb_key():
        runs = "1 run waits" if len(left) == 1 else f"{len(left)} runs wait"
        print(
            f"error: {runs}, and no key of Weights & Biases is set (WANDB_API_KEY or wandb login)",
            file=sys.stderr,
        )
        return 1
    troubles = dict(send(left))
    print(f"{sum(not trouble for trouble in troubles.values())} of {len(left)} runs sent")
    for folder, trouble in troubles.items():
        if trouble:
            print(f"error: {folder}: {trouble}", file=sys.stderr)
    return 1 if any(troubles.values()) else 0
