"""A user of Weights & Biases: without a key, or with one of a stub of its server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from support.tracking.wandb_stub import KEY, Stub, wandb_stub


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A user without a key, whose environment is as it was afterwards."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    before = dict(os.environ)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture
def offered(no_account: None) -> Iterator[Stub]:
    """A server, of which the user has no key yet."""
    wandb.teardown()  # in this process it would keep to the server of its first run
    with wandb_stub() as server:
        yield server
        wandb.teardown()


@pytest.fixture
def stub(offered: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """A server, and a user with a key of it."""
    give_key(offered, monkeypatch)
    return offered


def give_key(server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has a key of the server from now on."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def set_up(folder: Path, settings: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has set W&B up in the folder where it works, by its settings file and by variables."""
    (folder / "wandb").mkdir()
    (folder / "wandb" / "settings").write_text(f"[default]\n{settings}\n")
    monkeypatch.chdir(folder)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
