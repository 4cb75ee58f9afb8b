"""A saved workspace on Weights & Biases that shows what the report shows.

For each data set curves of accuracy against what it cost on several axes, and where runs ended against the
toll's strength, grouped by attack and defense; then prices, and a table that compares runs. With --sweep it
shows one sweep's runs. Without a key it prints the workspace's specification and saves nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.parsing import options_of, packages_of, parser


def main(arguments: Sequence[str]) -> int:
    """Save the workspace and say where, or print it."""
    parsing = parser("workspace", __doc__)
    parsing.add_argument(
        "--project",
        default=os.environ.get("WANDB_PROJECT", "tollgate"),
        help="(default: WANDB_PROJECT, or tollgate)",
    )
    parsing.add_argument("--entity", help="a user or a team (default: the key's own)")
    parsing.add_argument("--sweep", type=Path, metavar="FOLDER", help="only its runs, and its data sets")
    parsing.add_argument(
        "--datasets",
        nargs="+",
        default=[],
        metavar="NAME",
        help="that have a section (default: those of conf/)",
    )
    options = parsing.parse_args(arguments)
    with packages_of("workspace"):
        import wandb_workspaces  # noqa: F401
    with packages_of("sweeps"):
        from experiment.tracking.wandb_service import has_wandb_key
        from sweeps.tracking.workspace import NotSaved, datasets_of, group_of, save, specification, workspace
    sweep = group_of(options.sweep) if options.sweep else None
    found = datasets_of(options.sweep) if options.sweep and not options.datasets else options.datasets
    if options.sweep and not found:
        parsing.error(f"{options.sweep} holds no cell")
    datasets = found or options_of("dataset")
    if not has_wandb_key():
        print(
            json.dumps(
                specification(workspace(options.project, options.entity or "", datasets, sweep)), indent=2
            )
        )
        print(
            "nothing was saved: no key of Weights & Biases is set (WANDB_API_KEY or wandb login)",
            file=sys.stderr,
        )
        return 0
    try:
        print(save(options.project, options.entity, datasets, sweep))
    except NotSaved as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
