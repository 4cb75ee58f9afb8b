"""Weights & Biases' service and settings: what the user has set counts, and its end costs no cell."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

START_SECONDS = 30
"""How long a server may take to answer before the run is kept offline."""

OTHER_NAMES = {"dryrun": "offline", "run": "online"}
"""Older names of modes, which W&B still takes."""


def has_wandb_key(base: str | None = None) -> bool:
    """Whether W&B would find an API key for the server, in the environment or in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import requests
    import wandb

    base = base or os.environ.get("WANDB_BASE_URL") or str(wandb.Settings().base_url)
    return any(requests.utils.get_netrc_auth(url) for url in (base, "https://api.wandb.ai"))


def set_by_user() -> Any:
    """W&B's settings as the environment and its settings files have them (`wandb offline`, `wandb init`)."""
    import wandb

    return wandb.setup().settings


def mode_of(asked: str | None) -> Any:
    """The mode that an option asks for, else what the user has set; online only where there is a key."""
    settings = set_by_user()
    mode = asked or os.environ.get("WANDB_MODE") or settings.mode
    mode = OTHER_NAMES.get(mode, mode)
    has_key = bool(settings.api_key) or has_wandb_key(settings.base_url)
    return "offline" if mode == "online" and not has_key else mode


def init(told: Mapping[str, Any], mode: Any, directory: Path, or_offline: bool = True) -> Any:
    """Start a run, or go on in it, given what `wandb.init` is told of it.

    Where the server cannot be reached, and `or_offline` says so, it is offline: nothing here needs a server.
    Otherwise it is a run that is made anew of files, and what this process prints is not its own.
    """
    import wandb

    keep_wandb_files_beside(directory)
    settings = wandb.Settings(
        silent=not sys.stderr.isatty() or not has_wandb_key(),
        init_timeout=START_SECONDS,
        **_timeout_raises(),
        console="auto" if or_offline else "off",
    )
    arguments = {**told, "resume": "allow", "dir": str(directory), "settings": settings}
    try:
        return wandb.init(**arguments, mode=mode)
    except wandb.Error as error:
        if mode != "online" or not or_offline:
            raise
        log.warning("Weights & Biases does not answer, so runs of this process are kept offline: %s", error)
        wandb.teardown()  # which forgets the run that was not started, and so frees its id
        os.environ["WANDB_MODE"] = "offline"  # further cells of this process need not wait in vain
        return wandb.init(**arguments, mode="offline")


def forget_service() -> None:
    """Make W&B start a service anew; at the end of this process it would else ask the one that is dead."""
    import wandb

    with suppress(Exception):
        wandb.teardown()


def _timeout_raises() -> dict[str, Any]:
    """The setting without which a run that was not uploaded in time would be taken for one that was."""
    import wandb

    name = "finish_timeout_raises"  # which early versions do not have
    return {name: True} if name in wandb.Settings.model_fields else {}


@contextmanager
def termination_raises() -> Iterator[None]:
    """SIGTERM as SystemExit, without which a terminated run would be shown as running for ever.

    A handler that somebody else has set stays.
    """
    is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not is_free or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def keep_wandb_files_beside(directory: Path) -> None:
    """Point W&B's data and cache to `directory`: a later `wandb sync` needs them there."""
    directory.mkdir(parents=True, exist_ok=True)
    for variable, folder in (("WANDB_DATA_DIR", "data"), ("WANDB_CACHE_DIR", "cache")):
        os.environ.setdefault(variable, str((directory / "wandb" / folder).resolve()))
    os.environ.setdefault("WANDB_FINISH_TIMEOUT", "120")
