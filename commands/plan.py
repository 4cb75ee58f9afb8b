"""`tollgate plan`: the same as `tollgate run ... --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence

from commands import run


def main(arguments: Sequence[str]) -> int:
    """Plan what the arguments describe, without running it."""
    return run.main([*arguments, run.DRY_RUN])
