"""The benchmark of the gate measures what it names, and kills as often as told."""

from __future__ import annotations

import pytest

from benchmarks import gate as gate_benchmark


def test_the_benchmark_measures_every_server_and_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gate", "--requests", "5", "--connections", "2"])
    gate_benchmark.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == [
        "model alone",
        "gate, full",
        "gate, normal",
        "check of a solution",
        "issue of a challenge",
        "admission, booking, keeping and issue, full",
        "release, full",
        "admission, booking, keeping and issue, normal",
        "release, normal",
    ]
    assert all(0 < float(row[1].replace(",", "")) <= float(row[2].replace(",", "")) for row in rows)
    assert all(float(row[4].replace(",", "")) > 0 for row in rows[:3])
    assert [bool(row[3].strip()) for row in rows[:3]] == [False, True, True]


def test_the_benchmark_asks_and_walks_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gate", "--pending", "100", "--connections", "2"])
    monkeypatch.setattr(gate_benchmark, "HONEST_REQUESTS", 5)
    gate_benchmark.main()
    said = capsys.readouterr().out
    rows = {
        row[0].strip(): row[1].strip() for row in (line.split("│")[1:-1] for line in said.splitlines()) if row
    }
    assert (rows["answered work_required"], rows["answered too_many_pending"]) == ("64", "36")
    assert [name.split(",")[0] for name in rows][2:] == [
        f"honest user {when}" for when in ("before", "meanwhile", "after")
    ]


def test_the_benchmark_kills_a_gate_as_often_as_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gate", "--kill", "2"])
    gate_benchmark.main()
    assert capsys.readouterr().out.startswith("2 kills: ")
