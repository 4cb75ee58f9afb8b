"""Recorded traces, priced again: the authors' figures, and a plain loop over our own rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from commands.replay import main
from pow.calibration import Calibration
from pow.calibration.constant import ConstantCalibration
from pow.calibration.expectation import LinearExpectation
from pow.calibration.linear import LinearCalibration
from pow.evasion.asking import Pricelist, cheapest_row
from pow.evasion.best_response import best_responses
from pow.puzzles import PuzzleSettings, Sha256Puzzle
from pow.replay.asked import Replay
from pow.replay.calibrated import expectation
from pow.replay.requests import replay_queries
from pow.replay.trace import replay_prices
from pow.requests import ScopeName
from pow.traces import read_authors_trace, read_query_trace, split_over_accounts
from storage.conf import CONF
from support.missing import shared_file

SHA256 = PuzzleSettings(Sha256Puzzle)
OVERHEADS = {
    "standard": 1.14,
    "copycat": 299,
    "adaptiveknockoff": 289,
    "data free": 19.1,
    "entropyrev": 1.15,
    "worstcase": 2.72,
    "jacobian": 1.24,
}


def prices(calibration: Calibration, scope: ScopeName = "account", account_seconds: float = 0.0) -> Pricelist:
    asked = Replay(Path(), cost="pate", scope=scope, subnet_size=4, account_seconds=account_seconds)
    return replay_prices(asked, calibration, SHA256, 0.46)


def reference(name: str) -> Path:
    return shared_file(f"reference/{name}")


def test_the_papers_mnist_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.csv"
    benign = reference("traces/benign_mnist.csv")
    command = [str(reference("traces/mnist.csv")), "--benign", str(benign), "--out", str(out)]
    assert main([*command, "--calibration", "paper", "--dataset", "mnist"]) == 0
    ours, expected = pd.read_csv(out), pd.read_csv(reference("replay_mnist_expected.csv"))
    assert ours[["dataset", "mode", "row"]].equals(expected[["dataset", "mode", "row"]])
    for column in ("time", "queries", "privacy", "accuracy", "time_pow"):
        assert ours[column].to_numpy() == pytest.approx(expected[column].to_numpy(), rel=1e-9)
    last = ours.groupby("mode").last()["overhead"]
    assert {mode: float(f"{last[mode]:.3g}") for mode in last.index} == OVERHEADS
    assert "19.1" in capsys.readouterr().out


@pytest.mark.parametrize(("dataset", "overhead"), [("svhn", 1.03), ("cifar10", 1.07)])
def test_honest_users_of_the_other_data_sets(dataset: str, overhead: float, tmp_path: Path) -> None:
    """Each row adds its own time and what its deviation from the fitted line costs."""
    path = reference(f"traces/benign_{dataset}.csv")
    out = tmp_path / "rows.csv"
    assert main([str(path), "--dataset", dataset, "--benign", str(path), "--out", str(out)]) == 0
    trace = pd.read_csv(path)
    slope, intercept = np.polyfit(trace["queries"], trace["privacy"], 1)
    total = trace["time"].iloc[-1]
    for queries, privacy in zip(trace["queries"], trace["privacy"], strict=True):
        total += max(1.0075 ** abs(privacy - slope * queries - intercept), 0.1)
    last = pd.read_csv(out).iloc[-1]
    assert last["time_pow"] == pytest.approx(total, rel=1e-9)
    assert last["overhead"] == pytest.approx(overhead, abs=0.005)


def test_both_spellings_of_the_authors_columns(tmp_path: Path) -> None:
    rows = [[0.2, "a", 0, 0], [7.0, "a", 16, 250.0], [14.0, "a", 16, 600.0]]
    for names, file in (
        (["time (sec)", "mode", "diff queries", "privacy cost"], "published.csv"),
        (["time", "mode", "diff queries", "privacy"], "other.csv"),
    ):
        pd.DataFrame(rows, columns=names).to_csv(tmp_path / file, index=False)
    first, second = (read_authors_trace(tmp_path / name) for name in ("published.csv", "other.csv"))
    assert first.equals(second)
    assert first["queries"].tolist() == [0, 1000, 2000]


def test_our_traces_against_a_loop() -> None:
    random = np.random.default_rng(0)
    trace = pd.DataFrame({"round": 1, "account": random.integers(0, 2, 150), "cost_pate": random.random(150)})
    calibration = LinearCalibration(LinearExpectation(0.4, 0.0), slope=0.5, request_size=16)
    rows = replay_queries(trace, prices(calibration), "mine")
    work = 0.0
    for account in (0, 1):
        costs = trace.loc[trace["account"] == account, "cost_pate"].tolist()
        for end in [*range(16, len(costs), 16), len(costs)]:
            work += max(0.001, 0.5 * max(0.0, sum(costs[:end]) - 0.4 * end))
    last = rows.iloc[-1]
    assert last["queries"] == 150
    assert last["time_pow"] == pytest.approx(150 / 64 * 0.46 + work, rel=1e-12)
    assert last["expected_hashes"] == pytest.approx(work * 2.3e6, rel=1e-12)
    assert last["privacy"] == pytest.approx(trace["cost_pate"].sum())


@pytest.mark.parametrize("name", ["account", "subnet", "global"])
def test_many_accounts_against_a_loop(name: ScopeName) -> None:
    random = np.random.default_rng(0)
    trace = pd.DataFrame({"round": np.repeat([1, 2], 100), "account": 0, "cost_pate": random.random(200)})
    split = split_over_accounts(trace, 6)
    assert split.groupby(["round", "account"]).size().tolist() == 2 * [17, 17, 17, 17, 16, 16]
    calibration = LinearCalibration(LinearExpectation(0.4, 0.0), slope=0.5, request_size=5, sided="two")
    rows = replay_queries(split, prices(calibration, name), "mine")
    group = {"account": lambda a: a, "subnet": lambda a: a // 4, "global": lambda a: 0}[name]
    spent: dict[int, list[float]] = {}
    work = 0.0
    queries = [(int(r), int(a), float(c)) for r, a, c in split.itertuples(index=False)]
    for i, (round, account, cost) in enumerate(queries):
        mine = spent.setdefault(group(account), [])
        mine.append(cost)
        held = sum(1 for query in queries[: i + 1] if query[:2] == (round, account))
        last = i == 199 or queries[i + 1][:2] != (round, account)
        if held % 5 == 0 or last:
            work += max(0.001, 0.5 * abs(sum(mine) - 0.4 * len(mine)))
    assert rows.iloc[-1]["time_pow"] == pytest.approx(200 / 64 * 0.46 + work, rel=1e-9)


def test_many_accounts_help_an_attacker_unless_they_pay_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attacker, honest = tmp_path / "trace.parquet", tmp_path / "honest.parquet"
    pd.DataFrame({"round": 1, "account": 0, "cost_pate": [0.6] * 2000}).to_parquet(attacker)
    pd.DataFrame({"cost_pate": [0.3] * 2000}).to_parquet(honest)

    def overhead(*arguments: str) -> float:
        out = tmp_path / "rows.csv"
        command = [str(attacker), "--calibration", "linear", "--benign", str(honest), "--out", str(out)]
        assert main([*command, *arguments]) == 0
        return float(pd.read_csv(out).iloc[-1]["overhead"])

    alone = overhead()
    assert overhead("--accounts", "10") < 1 + 0.3 * (alone - 1)
    # Each account's last request is smaller than 64 queries and is charged as one.
    assert overhead("--accounts", "10", "--scope", "global") >= alone
    assert overhead("--accounts", "10", "--scope", "subnet", "--subnet-size", "5") < alone
    assert main([str(attacker), "--accounts", "0", "--benign", str(honest)]) == 1
    assert "--accounts must be at least 1" in capsys.readouterr().err


def test_a_constant_toll_asks_the_same_of_everybody() -> None:
    calibration = ConstantCalibration(LinearExpectation(1.0, 0.0), each=0.5, strength=2.0)
    seconds = calibration.seconds(np.array([-1e9, 0.0, 1e9]), np.array([1, 2, 3]))
    assert seconds.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("mode,accuracy\na,1\n", [], "has no column time, privacy, queries"),
        ("time,privacy,queries\n1,x,3\n", [], "privacy is not numeric"),
        ("time,privacy,queries\n1,,3\n", [], "privacy has an empty cell"),
        ("time,privacy,queries\n", [], "holds no rows"),
        ("", [], "not a CSV file"),
        ("time,privacy,queries\n1,2,3\n", ["--dataset", "digits"], "--benign"),
        (
            "time,privacy,queries\n1,2,3\n",
            ["--strength", "0"],
            "strength must be a number above 0",
        ),
        ("time,privacy,queries\n1,2,3\n", ["pow_calibration.bass=2"], "bass"),
        ("time,privacy,queries\n1,2,3\n", ["--surcharge", "2"], "--surcharge needs alarms"),
        ("time,privacy,queries\n1,2,3\n", ["--surcharge", "0.5"], "--surcharge must be at least 1"),
    ],
)
def test_what_cannot_be_priced_is_said(
    content: str, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(content)
    assert main([str(path), *arguments]) == 1
    assert said in capsys.readouterr().err


def test_an_alarm_raises_the_toll_of_its_account_from_then_on(tmp_path: Path) -> None:
    """Under a constant toll: five requests of two accounts, of which one has an alarm in its second."""
    path, out = tmp_path / "trace.parquet", tmp_path / "rows.csv"
    account = np.repeat([0, 1], [30, 20])
    alarm = (account == 0) & (np.arange(50) >= 19)
    columns = {"round": 1, "account": account, "cost_pate": 0.5, "alarm": alarm}
    pd.DataFrame(columns).to_parquet(path)
    constant = ["--calibration", "constant", "pow_calibration.each=2", "pow_calibration.request_size=10"]
    assert main([str(path), *constant, "--surcharge", "3", "--out", str(out)]) == 0
    rows = pd.read_csv(out)
    work = (rows["time_pow"] - rows["time"]).diff().fillna(rows["time_pow"] - rows["time"])
    assert work.tolist() == pytest.approx([2, 6, 6, 2, 2])
    assert main([str(path), "--surcharge", "3", "--accounts", "2"]) == 1


def test_a_measure_that_the_trace_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    pd.DataFrame({"round": [1], "account": [0], "cost_gap": [0.5]}).to_parquet(path)
    with pytest.raises(ValueError, match="no measure 'pate'; it has gap"):
        read_query_trace(path, "pate")


def test_rows_have_the_columns_of_a_curve(tmp_path: Path) -> None:
    """A request of 64 queries takes 0.46 s on MNIST; each request of 25 queries costs 2 s under this toll."""
    path, out = tmp_path / "trace.parquet", tmp_path / "rows.csv"
    pd.DataFrame({"round": 1, "account": 0, "cost_pate": [0.5] * 100}).to_parquet(path)
    constant = ["--calibration", "constant", "pow_calibration.each=1", "--strength", "2"]
    assert main([str(path), *constant, "--request-size", "25", "--out", str(out)]) == 0
    rows = pd.read_csv(out)
    assert rows["queries"].tolist() == [25, 50, 75, 100]
    assert rows["pow_seconds"].tolist() == pytest.approx([2, 4, 6, 8])
    assert (rows["query_seconds"] == rows["time"]).all() and (rows["total_seconds"] == rows["time_pow"]).all()
    assert rows["total_seconds"].tolist() == pytest.approx(rows["query_seconds"] + rows["pow_seconds"])
    assert rows["overhead"].tolist() == pytest.approx(rows["total_seconds"] / rows["query_seconds"])
    assert rows["expected_hashes"].diff().iloc[-1] > 0


def test_a_calibration_and_hardware_of_ones_own(tmp_path: Path) -> None:
    for group, name, source in [("pow_calibration", "mine", "constant"), ("hardware", "own", "phone")]:
        (tmp_path / "conf" / group).mkdir(parents=True)
        text = (CONF / group / f"{source}.yaml").read_text().replace("name: phone", "name: own")
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(text)
    path, out = tmp_path / "trace.parquet", tmp_path / "rows.csv"
    pd.DataFrame({"round": 1, "account": 0, "cost_pate": [0.5] * 100}).to_parquet(path)
    command = [str(path), "--config-dir", str(tmp_path / "conf"), "--out", str(out)]
    assert main([*command, "--calibration", "mine", "--hardware", "own", "--hardware", "phone"]) == 0
    last = pd.read_csv(out).iloc[-1]
    assert last["usd_own"] == last["usd_phone"] > 0


@pytest.mark.slow  # four replays
def test_a_progressive_toll_is_the_same_however_requests_are_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fitted to an honest trace, as the run of the trace was fitted, or to the published cost."""
    random = np.random.default_rng(0)

    def queries(count: int, scale: float) -> pd.DataFrame:
        costs = {f"cost_{name}": scale * random.gamma(0.3, size=count) for name in ("pate", "entropy")}
        return pd.DataFrame({"round": np.arange(count) // 200, "account": 0} | costs)

    trace, benign = tmp_path / "trace.parquet", tmp_path / "benign.parquet"
    queries(600, 20.0).to_parquet(trace)
    queries(300, 1.0).assign(label=np.arange(300) % 10).to_parquet(benign)
    totals = {}
    for source in (["--benign", str(benign)], []):
        for size in (1, 7, 64, 600):
            out = tmp_path / "rows.csv"
            command = [str(trace), "--calibration", "progressive", "--request-size", str(size), *source]
            command += ["honest_users.longest=300"]  # fitted in a second
            assert main([*command, "--out", str(out)]) == 0
            totals[len(source), size] = pd.read_csv(out)["pow_seconds"].iloc[-1]
        assert [totals[len(source), size] for size in (7, 64, 600)] == pytest.approx(
            [totals[len(source), 1]] * 3, rel=1e-9
        )
    assert "stay below an overhead of 2" in capsys.readouterr().out
    assert main([str(trace), "--calibration", "progressive", "--dataset", "digits"]) == 1
    assert "needs a trace.parquet by --benign" in capsys.readouterr().err
    (tmp_path / "authors.csv").write_text("time,privacy,queries\n1,2,3\n")
    assert main([str(tmp_path / "authors.csv"), "--calibration", "progressive"]) == 1
    assert "no queries whose gains could be counted" in capsys.readouterr().err
    assert main([str(trace), "--calibration", "progressive", "--benign", str(tmp_path / "authors.csv")]) == 1
    assert "needs a trace.parquet by it" in capsys.readouterr().err, "it is not passed over"


def test_an_accounts_first_request_has_its_price(tmp_path: Path) -> None:
    path, out = tmp_path / "trace.parquet", tmp_path / "rows.csv"
    account = np.repeat([3, 5, 3], [20, 20, 10])
    pd.DataFrame({"round": 1, "account": account, "cost_pate": 0.5}).to_parquet(path)
    constant = ["--calibration", "constant", "pow_calibration.each=2", "--request-size", "15"]
    assert main([str(path), *constant, "--account-seconds", "7", "--out", str(out)]) == 0
    rows = pd.read_csv(out)
    assert rows["pow_seconds"].diff().fillna(rows["pow_seconds"]).tolist() == [9, 2, 9, 2]
    assert rows["expected_hashes"].to_numpy() == pytest.approx(2e6 * rows["pow_seconds"])


@pytest.mark.parametrize("evade", ["pad", "split", "best"])
def test_who_evades_has_a_row_a_round(evade: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The honest user's images are at hand to pad with, and each row is the best response until then."""
    path, honest, out = (tmp_path / name for name in ("trace.parquet", "honest.parquet", "rows.csv"))
    random = np.random.default_rng(0)
    columns = {"round": np.repeat([1, 2], 100), "account": 0, "cost_pate": random.uniform(0.5, 1, 200)}
    trace = pd.DataFrame(columns)
    trace.to_parquet(path)
    pd.DataFrame({"cost_pate": random.uniform(0.1, 0.5, 200)}).to_parquet(honest)
    command = [str(path), "--calibration", "linear", "pow_calibration.slope=1", "--benign", str(honest)]
    assert main([*command, "--evade", evade, "--account-seconds", "0.5", "--out", str(out)]) == 0
    rows = pd.read_csv(out)
    assert "How the attacker asks" in capsys.readouterr().out
    line = expectation(honest, "pate")
    calibration = LinearCalibration(line, slope=1.0, reference_rate=2e6)
    pad = cheapest_row("cost_pate", pd.read_parquet(honest))
    charged = prices(calibration, account_seconds=0.5)
    found = best_responses(trace, [100, 200], charged, evade, pad)  # type: ignore[arg-type]
    assert rows["queries"].tolist() == [100, 200]
    assert rows["strategy"].tolist() == [each.strategy for each in found]
    assert rows["pow_seconds"].tolist() == pytest.approx([each.seconds for each in found])
    assert rows["pads"].tolist() == [each.pads for each in found]
    own = [(100 + found[0].pads) * 0.46 / 64, (200 + found[1].pads) * 0.46 / 64]
    assert (rows["total_seconds"] - rows["pow_seconds"]).tolist() == pytest.approx(own)
    assert rows["query_seconds"].tolist() == pytest.approx([100 * 0.46 / 64, 200 * 0.46 / 64])


@pytest.mark.parametrize("arguments", [["--evade", "best"], ["--account-seconds", "1"]])
def test_who_evades_needs_a_row_a_query(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,privacy,queries\n1,2,3\n")
    assert main([str(path), *arguments]) == 1
    assert "need a row a query" in capsys.readouterr().err
    pd.DataFrame({"round": 1, "account": 0, "cost_pate": [0.5] * 10}).to_parquet(tmp_path / "trace.parquet")
    assert main([str(tmp_path / "trace.parquet"), "--account-seconds", "-1"]) == 1
    assert "--account-seconds must be at least 0, and finite, not -1" in capsys.readouterr().err


def beside(folder: Path, **result: object) -> Path:
    """A trace of 100 queries that cost 2 each, with the result of its run beside it."""
    count = np.arange(100)
    trace = pd.DataFrame({"round": count // 50, "account": 0, "cost_pate": 2.0, "cost_gap": 3.0})
    trace.to_parquet(folder / "trace.parquet")
    told = {
        "dataset": "digits",
        "calibration": "linear",
        "strength": 3.0,
        "scope": "account",
        "charged": "pate",
        "request_size": 25,
        "account_seconds": 7.0,
        "expected_cost": {"slope": 1.0, "intercept": 0.0},
    }
    (folder / "result.json").write_text(json.dumps(told | result))
    return folder / "trace.parquet"


def test_a_trace_is_priced_as_its_run_was_where_nothing_else_is_said(tmp_path: Path) -> None:
    """By hand: requests of 25 whose cost lies 25, 50, 75 and 100 above the line, at strength 3."""
    trace, out = beside(tmp_path), tmp_path / "rows.csv"
    assert main([str(trace), "pow_calibration.slope=0.1", "--out", str(out)]) == 0
    rows = pd.read_csv(out)
    assert set(rows["dataset"]) == {"digits"} and len(rows) == 4
    assert rows["pow_seconds"].iloc[-1] == pytest.approx(7 + 3 * 0.1 * (25 + 50 + 75 + 100))
    again = [str(trace), "pow_calibration.slope=0.1", "--out", str(out)]
    assert main([*again, "--strength", "1", "--account-seconds", "0", "--request-size", "50"]) == 0
    assert pd.read_csv(out)["pow_seconds"].iloc[-1] == pytest.approx(0.1 * (50 + 100))


def test_the_line_of_another_data_set_or_measure_is_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = beside(tmp_path)
    assert main([str(trace), "--cost", "gap"]) == 1
    assert "digits has no published expectation: name an honest trace by --benign" in capsys.readouterr().err


def test_a_damaged_result_beside_a_trace_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = beside(tmp_path)
    (tmp_path / "result.json").write_text("{")
    assert main([str(trace)]) == 1
    assert f"{tmp_path / 'result.json'} is damaged" in capsys.readouterr().err
