"""Measuring hash rates, and the profile that is written of them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import hydra.utils
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from commands.hash_rate import main
from pow import hash_rate
from pow.hardware import Hardware
from pow.hash_rate import Rate
from pow.puzzles import KINDS, PuzzleSettings, kernel, native
from support.commands import run_python

QUICK = ["--seconds", "0.01", "--no-compiled"]
PRICE = ["--watts", "4.5", "--usd-per-hour", "0.0008"]


def cells(printed: str) -> list[list[str]]:
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


def test_each_kind_is_measured_and_written_as_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hash_rate, "cores", lambda: 2)
    path = tmp_path / "my_core.yaml"
    path.write_text("an old profile")
    assert main([*QUICK, *PRICE, "--out", str(path)]) == 0

    printed = capsys.readouterr()
    assert printed.err == ""
    rows = cells(printed.out)
    own = {kind: hash_rate.own_search(kind) for kind in KINDS}
    assert own == {"sha256": f"C with {native.instructions()}".removesuffix(" with C")} | {
        kind: "loop" for kind in KINDS if kind != "sha256"
    }
    ways = [[kind, way] for kind, name in own.items() for way in (name, f"{name}, 2 processes", "checks")]
    assert [row[:2] for row in rows] == [["sha256", "loop"], *ways]
    assert all(float(number.replace(",", "")) > 0 for row in rows for number in row[2:])

    assert [file.name for file in tmp_path.iterdir()] == ["my_core.yaml"]
    assert path.read_text().startswith("# One core of a machine")
    hardware = hydra.utils.instantiate(OmegaConf.load(path), _convert_="all")
    assert isinstance(hardware, Hardware)
    assert (hardware.name, hardware.watts, hardware.usd_per_hour) == ("my_core", 4.5, 0.0008)
    assert hardware.measured is True and version("torch") in hardware.source
    for kind in KINDS:
        rate = hardware.rate(PuzzleSettings(KINDS[kind]))
        found = [float(row[3].replace(",", "")) for row in rows if row[0] == kind and row[1] != "checks"]
        assert rate == pytest.approx(max(found), rel=1e-3)
        assert hardware.bill(np.array([rate]), PuzzleSettings(KINDS[kind])).seconds.tolist() == [1.0]


def test_a_core_is_as_fast_as_its_fastest_solver_and_no_graphics_card() -> None:
    measured = [
        Rate("sha256", "kernel, a card", 9e9, None),
        Rate("sha256", "kernel, 4 threads", 40e6, 4),
        Rate("sha256", "loop", 5.12345e6),
        Rate("sha256", "checks", 1e9),
        Rate("hashcash", "loop", 4e6),
        Rate("hashcash", "loop, 4 processes", 14e6, 4),
        Rate("argon2id", "loop", 100.0),
        Rate("argon2id", "loop, 4 processes", 480.04, 4),
    ]
    node = hash_rate.profile(measured, "a", 1.0, 2.0)
    assert node["hashes_per_second"] == {"sha256": 1e7, "hashcash": 4e6, "argon2id": 120.0}
    assert "PyTorch's kernel" in node["source"]
    assert hash_rate.profile(measured[2:], "a", 1.0, 2.0)["hashes_per_second"]["sha256"] == 5.123e6


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_compiled_kernel_is_measured_with_one_thread_and_all(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compiled(device: str, threads: int, seconds: float) -> Rate:
        return Rate("sha256", f"{threads} on {device}", 1e9 * threads, threads)

    monkeypatch.setattr(hash_rate, "compiled_rate", compiled)
    monkeypatch.setattr(hash_rate, "pool_rate", lambda kind, seconds, workers: 3.0)
    monkeypatch.setattr(hash_rate, "cores", lambda: 3)
    monkeypatch.setattr("pow.puzzles.kernel.best_device", lambda: device)
    assert main(["--seconds", "0.01"]) == 0
    printed = capsys.readouterr().out
    expected = [("cuda", 1)] * (device == "cuda") + [("cpu", 1), ("cpu", 3)]
    assert [line.split(":")[0] for line in printed.splitlines() if line.startswith("compiling")] == [
        f"compiling for {device}, threads {threads}" for device, threads in expected
    ]
    assert cells(printed)[: len(expected)] == [
        ["sha256", f"{threads} on {device}", f"{threads},000,000,000", "1,000,000,000"]
        for device, threads in expected
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_kernel_runs_with_so_many_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel left uncompiled, in small batches."""
    seen = []

    def kernel_step(*arguments: torch.Tensor) -> torch.Tensor:
        seen.append((torch.get_num_threads(), len(arguments[-1])))
        return kernel._may_win(*arguments)

    monkeypatch.setattr(kernel, "compiled", lambda: kernel_step)
    monkeypatch.setattr(kernel, "BATCH", {"cpu": 64})
    before = torch.get_num_threads()
    rate = hash_rate.compiled_rate("cpu", threads, 0.01)
    assert (rate.kind, rate.what) == ("sha256", "kernel, 1 thread" if threads == 1 else "kernel, 2 threads")
    assert rate.a_second > 0 and rate.of_one_core == rate.a_second / threads
    assert len(seen) >= 3 and set(seen) == {(threads, 64 * threads)}
    assert torch.get_num_threads() == before


def test_rates_are_what_was_done_over_the_time_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that the calls move: the first call, which warms up, is not counted."""
    clock = [100.0]
    durations: Iterator[float] = iter([50.0, 2.0, 2.0, 4.0])

    def call() -> int:
        clock[0] += next(durations)
        return 10

    monkeypatch.setattr(hash_rate, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert hash_rate.calls_a_second(call, 5.0) == 30 / 8


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "-1"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--seconds", "inf"], "--seconds"),
        (["--seconds", "soon"], "--seconds"),
        ([*PRICE, "--watts", "-1", "--out", "a.yaml"], "--watts"),
        ([*PRICE, "--usd-per-hour", "free", "--out", "a.yaml"], "--usd-per-hour"),
        (["--watts", "4", "--out", "a.yaml"], "--usd-per-hour"),
        (["--usd-per-hour", "4", "--out", "a.yaml"], "--watts"),
        ([*PRICE, "--out", "a.json"], "--out"),
        ([*PRICE, "--out", "no/such/folder/a.yaml"], "--out"),
        ([*PRICE, "--out", "."], "--out"),
        ([*PRICE, "--out", "my-core.yaml"], "--name"),
        ([*PRICE, "--out", "a.yaml", "--name", "my core"], "--name"),
        ([*PRICE, "--out", "a.yaml", "--name", ""], "--name"),
    ],
)
def test_bad_options_are_named_before_anything_is_measured(
    arguments: list[str],
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hash_rate, "rates", None)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert f"error: argument {option}: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_failures_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(device: str, threads: int, seconds: float) -> Rate:
        raise RuntimeError("no compiler is here\nand much more")

    monkeypatch.setattr(hash_rate, "compiled_rate", fails)
    assert main(["--seconds", "0.01", *PRICE, "--out", str(tmp_path / "a.yaml")]) == 1
    assert capsys.readouterr().err == "error: no compiler is here\n"
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("old")

    def fails(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        hash_rate.write_profile(path, {"name": "a"})
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"] and path.read_text() == "old"


def test_the_command_runs_without_pytorch() -> None:
    result = run_python("-X", "importtime", "-m", "commands", "hash-rate", *QUICK)
    assert result.returncode == 0, result.stderr
    assert len(cells(result.stdout)) == 10
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "pow.puzzles" in imported and "torch" not in imported
