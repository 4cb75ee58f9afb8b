"""What `serve.py` cannot serve with is said before anything is trained."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from experiment.serving.running import serve
from storage.errors import InputError
from support.commands import ROOT
from support.gates.ledgers import free_port


def refusal(tmp_path: Path, *overrides: str) -> str:
    options = ["dataset=digits", "logger=none", f"paths.store={tmp_path}/store", "server.port=0", *overrides]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("serve", options)
    with pytest.raises(InputError) as caught:
        serve(config)
    assert not (tmp_path / "store" / "victims").exists(), "nothing was trained"
    return str(caught.value)


def test_how_the_ledger_commits_is_full_or_normal(tmp_path: Path) -> None:
    said = refusal(tmp_path, "server.synchronous=off")
    assert said.startswith("server.synchronous must be one of full, normal, not ")


def test_a_ledger_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE other (x)")
    said = refusal(tmp_path, f"server.ledger={other}")
    assert said == f"server.ledger={other}: {other} is not a ledger but another program's database"
    url = f"redis://127.0.0.1:{free_port()}/0"
    assert refusal(tmp_path, f"server.ledger='{url}'").startswith(f"server.ledger={url}: ")
