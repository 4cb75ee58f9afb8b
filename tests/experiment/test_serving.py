"""What `serve.py` cannot serve with is said before anything is trained."""

from __future__ import annotations

import resource
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from experiment.compose import compose_cell
from experiment.serving.ledger import counted_by
from experiment.serving.running import allow_files, serve
from gate.ledgers.open import open_ledger
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


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("port", "99999", "a whole number between 0 and 65535, not 99999"),
        ("port", "abc", "a whole number between 0 and 65535, not 'abc'"),
        ("workers", "0", "a whole number between 1 and 256, not 0"),
        ("workers", "true", "a whole number between 1 and 256, not True"),
        ("connections", "0", "a whole number between 1 and 1000000000, not 0"),
        ("pending", "abc", "a whole number between 1 and 1000000000, not 'abc'"),
        ("requests_a_minute", "1.5", "a whole number between 1 and 1000000000, not 1.5"),
        ("lifetime", "nan", "a number between 0.001 and 1000000000, not nan"),
        ("model_seconds", "null", "a number between 0.001 and 1000000000, not None"),
        ("totals", "old", "one of refuse, new, not 'old'"),
        ("connections_an_address", "0", "a whole number between 1 and 1000000000, not 0"),
        ("answers", "loud", "one of soft, topk, hard, not 'loud'"),
        ("host", "8", "a word, not 8"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(option: str, value: str, rule: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, f"server.{option}={value}") == f"server.{option} must be {rule}"
    assert not (tmp_path / "store").exists(), "nothing was made"


def test_more_connections_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that runs out of files can neither accept nor write its ledger; it says so instead."""
    limits, raised = (1024, 1024), list[tuple[int, int]]()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: raised.append(pair))
    with pytest.raises(InputError, match=r"server\.connections=1000 takes 1,300 open files, .* 1,024"):
        allow_files(1000)
    allow_files(700)
    limits = (1024, 4096)
    allow_files(1000)
    assert raised == [(1300, 4096)]


def test_an_account_with_a_name_that_none_can_have(tmp_path: Path) -> None:
    said = refusal(tmp_path, "server.account=a+b")
    assert said == "server.account=a+b: an account's name is 1 to 64 letters, digits or _ . @ -, not 'a+b'"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trusted_proxies=here", "server.trusted_proxies=here: it must be a list of addresses or networks"),
        ("trusted_proxies=[here]", "'here' does not appear to be an IPv4 or IPv6 network"),
        ("metrics_bind=9100", "server.metrics_bind=9100: it must be HOST:PORT, such as 127.0.0.1:9100"),
        ("metrics_bind='127.0.0.1:x'", "it must be HOST:PORT"),
        ("slowest_device=abacus", "server.slowest_device must name h100, laptop_core"),
    ],
)
def test_what_an_operator_misspells(override: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, f"server.{override}")


def test_a_ledger_that_counts_for_something_else_is_refused(tmp_path: Path) -> None:
    with closing(open_ledger(f"{tmp_path}/store/gate/ledger.sqlite")) as ledger:
        ledger.count_as("mnist, paper, 0123")
    said = refusal(tmp_path)
    assert "holds what accounts asked of (mnist, paper, 0123), and this is (digits, progressive, " in said
    assert "server.totals=new starts new totals beside those" in said


def counted(*overrides: str) -> str:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return counted_by(
            compose_cell(compose("serve", ["dataset=digits", "logger=none", *overrides]), False)
        )


def test_what_is_counted_depends_on_what_gives_numbers_their_meaning(tmp_path: Path) -> None:
    usual = counted()
    for price in (
        "pow_calibration.strength=7",
        "pow_calibration.cap=9",
        "puzzle.parts=2",
        "defense.pow.cost=gap",
    ):
        assert counted(price) == usual
    others = [
        *("victim.seed=9", "privacy.accounting=composed", "pow_calibration=paper"),
        "pow_calibration.gains.volume.weight=0.5",
    ]
    assert len({usual, *map(counted, others)}) == 1 + len(others)


def test_a_ledger_of_another_kind_of_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(tmp_path, "server.ledger='postgres://there/db'")
    assert said.endswith("a ledger is a file, or redis://HOST:PORT/NUMBER, not postgres://there/db")
    assert not [*tmp_path.glob("postgres*")]


def test_a_port_that_is_taken_costs_no_account(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(tmp_path, f"server.port={port}")
    assert said.startswith(f"server.host=127.0.0.1 server.port={port}: Address already in use")
    with closing(open_ledger(f"{tmp_path}/store/gate/ledger.sqlite")) as ledger:
        assert not ledger.remove_account("owner")
