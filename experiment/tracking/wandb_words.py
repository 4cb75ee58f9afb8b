"""What Weights & Biases takes for names and tags, so that others are refused before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterable

LONGEST_PROJECT = 128
NOT_IN_PROJECTS = "/\\#?%:"
LONGEST_TAG = 64
MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")


def check_project(name: str | None, option: str) -> None:
    """Raise ValueError, naming the option, for a project that W&B refuses; None is any."""
    if name is None:
        return
    if len(name) > LONGEST_PROJECT or any(sign in name for sign in NOT_IN_PROJECTS):
        raise ValueError(
            f"{option}={name} cannot be a project of Weights & Biases: at most {LONGEST_PROJECT} "
            f"characters, none of {' '.join(NOT_IN_PROJECTS)}"
        )


def check_tags(tags: Iterable[str], option: str) -> None:
    """Raise ValueError, naming the option, for a tag that W&B refuses."""
    for tag in tags:
        if not 1 <= len(tag) <= LONGEST_TAG:
            raise ValueError(
                f"{option}: a tag of Weights & Biases has 1 to {LONGEST_TAG} characters, not {len(tag)}"
            )


def check_environment() -> None:
    """Raise ValueError where a variable of W&B's says what W&B refuses."""
    mode = os.environ.get("WANDB_MODE") or "online"
    if mode not in MODES:
        raise ValueError(f"WANDB_MODE must be one of {', '.join(MODES)}, not {mode}")
    check_project(os.environ.get("WANDB_PROJECT"), "WANDB_PROJECT")
    tags = os.environ.get("WANDB_TAGS")
    check_tags(tags.split(",") if tags else [], "WANDB_TAGS")
