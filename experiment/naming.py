"""Names: of stacked defenses, and of a sweep's folder.

The folder's is the same for the same command, so that giving it again resumes the sweep.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from omegaconf import OmegaConf

WITHOUT_A_SAY = ("paths.", "logger=", "logger.")
"""Overrides that change where results go, not what they are."""


def sweep_name(overrides: Sequence[str]) -> str:
    """What the sweep is of, cut short, and a hash of all its overrides."""
    telling = sorted(override for override in overrides if not override.startswith(WITHOUT_A_SAY))
    digest = hashlib.sha256("\n".join(telling).encode()).hexdigest()[:8]
    words = re.sub(r"[^\w=.+-]+", "_", "_".join(telling)).strip("_")
    return f"{words[:60].rstrip('_.') or 'sweep'}-{digest}"


def stack_name(defenses: Iterable[str]) -> str:
    """The defenses of a stack by their names, `rounding+pow` say, and `none` of an empty one."""
    return "+".join(defenses) or "none"


def register() -> None:
    """Make the names available in configs as ${sweep_name:...} and ${stack:...}."""
    OmegaConf.register_new_resolver("stack", stack_name, replace=True)
    # Cached: the jobs of a sweep have overrides of their own and must find the sweep's folder.
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True, use_cache=True)
