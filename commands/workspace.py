"""A saved workspace on Weights & Biases that shows what the report shows.

Curves of accuracy against what it cost on four axes, grouped by attack; overhead against accuracy; a table
that compares runs. Without a key it prints the workspace's specification and saves nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from commands.parsing import packages_of, parser


def main(arguments: Sequence[str]) -> int:
    """Save the workspace and say where, or print it."""
    parsing = parser("workspace", __doc__)
    parsing.add_argument("--project", default="tollgate")
    parsing.add_argument("--entity", help="a user or a team (default: the key's own)")
    options = parsing.parse_args(arguments)
    with packages_of("workspace"):
        import wandb_workspaces  # noqa: F401
    with packages_of("sweeps"):
        from experiment.tracking.wandb_service import has_wandb_key
        from sweeps.tracking.workspace import NotSaved, save, specification, workspace
    if not has_wandb_key():
        print(json.dumps(specification(workspace(options.project, options.entity or "")), indent=2))
        print(
            "nothing was saved: no key of Weights & Biases is set (WANDB_API_KEY or wandb login)",
            file=sys.stderr,
        )
        return 0
    try:
        print(save(options.project, options.entity))
    except NotSaved as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
