"""The name of a sweep's folder: the same for the same command, so that giving it again resumes it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from omegaconf import OmegaConf

WITHOUT_A_SAY = ("paths.", "logger=", "logger.")
"""Overrides that change where results go, not what they are."""


def sweep_name(overrides: Sequence[str]) -> str:
    """What the sweep is of, cut short, and a hash of all its overrides."""
    telling = sorted(override for override in overrides if not override.startswith(WITHOUT_A_SAY))
    digest = hashlib.sha256("\n".join(telling).encode()).hexdigest()[:8]
    words = re.sub(r"[^\w=.+-]+", "_", "_".join(telling)).strip("_")
    return f"{words[:60].rstrip('_.') or 'sweep'}-{digest}"


def register() -> None:
    """Make the name available in configs as ${sweep_name:...}."""
    # Cached: the jobs of a sweep have overrides of their own and must find the sweep's folder.
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True, use_cache=True)
