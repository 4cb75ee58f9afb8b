"""An attack over HTTP: the same curve as in process, paid with real work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiment.cell import run_cell
from experiment.serving.app import make_app
from gate import sending
from gate.api_keys import new_account
from gate.client import Client
from gate.ledgers.open import open_ledger
from pow.tariff import Standing
from storage.errors import InputError
from support.commands import ROOT
from support.gates.served import Served, served

pytestmark = (
    pytest.mark.slow
)  # servers that train; the README's gate is asked over the wire in test_readme.py

COMMON = [
    "dataset=digits",
    "attack=knockoff",
    "attack.budget=300",
    "attack.round_size=150",
    "victim.recipe.epochs=2",
    "substitute.recipe.epochs=2",
    "privacy.measures.pate.teachers=3",
    "privacy.measures.pate.recipe.epochs=2",
    "pow_calibration=constant",
    "pow_calibration.each=0.05",
    "puzzle.parts=64",
    "trainer=cpu",
    "logger=none",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wire") / "store"


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Served]:
    with served("serve.py", *COMMON, f"paths.store={store}", "server.port=0") as server:
        yield server


def run(store: Path, output: Path, *overrides: str) -> None:
    """A cell in this process, as run.py runs it."""
    output.mkdir()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        run_cell(compose("config", [*COMMON, f"paths.store={store}", *overrides]), output)


def test_the_curve_over_the_wire_is_the_one_in_process(
    store: Path, server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_KEY", server.key)
    run(store, tmp_path / "wire", "oracle=http", f"oracle.url={server.url}")
    run(store, tmp_path / "local")
    curves = {name: pd.read_csv(tmp_path / name / "curve.csv") for name in ("wire", "local")}
    counted = [name for name in curves["local"] if not str(name).startswith("measured_")]
    pd.testing.assert_frame_equal(curves["wire"][counted], curves["local"][counted])

    trace = pd.read_parquet(tmp_path / "wire" / "trace.parquet")
    last = curves["wire"].iloc[-1]
    left = last["expected_hashes"] - trace["asked_hashes"].sum()
    of_the_last = trace["asked_hashes"] == trace["asked_hashes"].iloc[-1]
    assert 0 <= left < trace["asked_hashes"][of_the_last].sum(), (
        "prices are powers of two; the rest is carried on"
    )
    # 6 requests of 64 parts: the sum of 384 geometric numbers deviates by 5.1 %
    assert last["measured_hashes"] == pytest.approx(last["expected_hashes"], rel=0.2)
    assert 0 < last["measured_solve_seconds"] < last["measured_query_seconds"]
    for path in (tmp_path / "wire").iterdir():
        assert server.key.encode() not in path.read_bytes(), f"the key is in {path.name}"


def test_each_account_asks_with_its_own_key(
    store: Path, server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(str(store / "gate" / "ledger.sqlite"))
    second = new_account(ledger, "second")
    options = ["oracle=http", f"oracle.url={server.url}", "attack.accounts=2", "attack.budget=20"]
    monkeypatch.setenv("TOLLGATE_KEY", server.key)
    with pytest.raises(InputError, match=r"attack\.accounts=2, by commas; it holds 1"):
        run(store, tmp_path / "few", *options)
    monkeypatch.setenv("TOLLGATE_KEY", f"{server.key}, {second}")
    run(store, tmp_path / "both", *options)
    accounts = pd.read_parquet(tmp_path / "both" / "trace.parquet")["account"]
    assert np.bincount(accounts).tolist() == [10, 10]
    assert Standing.of(ledger.standings()["second"]).queries == 10
    ledger.close()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("oracle.url=127.0.0.1:1", "oracle.url must begin with http://"),
        ("oracle.max_hashes=0", "oracle.max_hashes must be a number of at least 1"),
        ("oracle.max_hashes=10", "no query was answered"),
        ("attack.answers=hard", "answers soft"),
        ("oracle.url=http://127.0.0.1:1", "does not answer"),
    ],
)
def test_what_cannot_work_is_said(
    store: Path,
    server: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    said: str,
) -> None:
    monkeypatch.setenv("TOLLGATE_KEY", server.key)
    monkeypatch.setattr(sending, "FIRST_WAIT", 0.01)
    options = [
        "oracle=http",
        f"oracle.url={server.url}",
        override,
        "attack.budget=10",
        "seed=1",
        "victim.seed=0",
    ]
    with pytest.raises((InputError, RuntimeError), match=said):
        run(store, tmp_path / "wrong", *options, "victim.seed=0")


def test_another_model_is_recognised(
    store: Path, server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_KEY", server.key)
    options = ["oracle=http", f"oracle.url={server.url}", "victim.recipe.epochs=1", "attack.budget=50"]
    with pytest.raises(InputError, match="serves another model"):
        run(store, tmp_path / "other", *options)


def test_several_workers_share_accounts_and_counts(
    store: Path, server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    options = [*COMMON, f"paths.store={store}", "server.port=0", "server.workers=2", "server.account=third"]
    images = np.zeros((2, 1, 16, 16), dtype=np.uint8)
    with served("serve.py", *options) as several:
        for key in (server.key, several.key) * 3:
            with Client(several.url, key) as client:
                assert client.request(images).answer.shape == (2, 10)
        with urlopen(f"{several.url}/metrics") as metrics:
            counts = metrics.read().decode()
        assert list(tmp_path.glob("tollgate-metrics-*"))
    assert "\ntollgate_puzzles_solved_total 6.0\n" in counts
    assert not list(tmp_path.glob("tollgate-metrics-*")), "what the workers counted ends with them"


def test_a_server_changes_answers_before_it_keeps_them(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are changed in process: the curves agree, and the meter measures the victim's own answers."""
    stack = ["defense=[gaussian_noise,rounding,pow]", "defense.gaussian_noise.sigma=0.5", "attack.budget=150"]
    stack += ["defense.rounding.decimals=1", "defense.pow.cost=gap"]
    path = f"{tmp_path}/ledger.sqlite"
    places = [f"paths.store={store}", "server.port=0", "server.account=noisy", f"server.ledger={path}"]
    with served("serve.py", *COMMON, *stack, *places) as server:
        monkeypatch.setenv("TOLLGATE_KEY", server.key)
        run(store, tmp_path / "wire", *stack, "oracle=http", f"oracle.url={server.url}")
        ledger = open_ledger(path)
        booked = Standing.of(ledger.standings()["noisy"])
        ledger.close()
        with Client(server.url, server.key) as client:
            told = client.predict(np.random.default_rng(0).random((3, 1, 16, 16), dtype=np.float32))
    run(store, tmp_path / "local", *stack)
    curves = {name: pd.read_csv(tmp_path / name / "curve.csv") for name in ("wire", "local")}
    counted = [name for name in curves["local"] if not str(name).startswith("measured_")]
    pd.testing.assert_frame_equal(curves["wire"][counted], curves["local"][counted])
    assert booked.sums[0] == pytest.approx(curves["local"]["cost_gap"].iloc[-1], rel=1e-5)
    assert np.allclose(told, np.round(told, 1), atol=1e-6)


def test_serving_a_watch_is_refused(store: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("serve", [*COMMON, "defense=[prada,pow]", f"paths.store={store}"])
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    with pytest.raises(InputError, match="watches no accounts"):
        make_app({str(key): value for key, value in plain.items()})
