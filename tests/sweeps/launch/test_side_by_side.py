"""Units of a job that run at a time, in processes of their own."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from sweeps.launch.cluster import side_by_side

PLAYED = """#!{python}
import os, sys, time
from pathlib import Path
folder, unit = Path(sys.argv[3]), sys.argv[4]
(folder / f"{{unit}}.begun").write_text(f"{{os.getpid()}} {{os.environ['OMP_NUM_THREADS']}}")
while not (folder / f"{{unit}}.end").exists():
    time.sleep(0.02)
sys.exit(int((folder / f"{{unit}}.end").read_text()))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where jobs say that they have begun, and are told to end; they are a script in Python's place."""
    program = tmp_path / "python"
    program.write_text(PLAYED.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    return tmp_path


def begun(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.begun")}


def until_begun(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while sum(path.stat().st_size > 0 for path in folder.glob("*.begun")) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_so_many_at_a_time_and_each_ends_for_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    def rest() -> None:
        """The first to begin are seen to be two, and then all are told to end."""
        if not seen:
            until_begun(folder, 2)
            seen.append(begun(folder))
            for unit, code in {"a": 0, "b": 3, "c": 0}.items():
                (folder / f"{unit}.end").write_text(str(code))
        time.sleep(0.01)

    monkeypatch.setattr(side_by_side, "_rest", rest)
    assert side_by_side.run_side_by_side(folder, ["a", "b", "c"], 2) == ["b: exit code 3"]
    assert seen == [{"a", "b"}] and begun(folder) == {"a", "b", "c"}
    assert (folder / "a.begun").read_text().split()[1] == "2", "its part of the job's processors"


def test_signals_are_for_the_job_and_none_outlives_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[psutil.Process] = []

    def rest() -> None:
        until_begun(folder, 2)
        for path in folder.glob("*.begun"):
            processes.append(psutil.Process(int(path.read_text().split()[0])))
            processes[-1].send_signal(signal.SIGUSR2)
            processes[-1].send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert all(process.is_running() for process in processes)
        raise SystemExit(-1)  # as Submitit does once the job is requeued

    monkeypatch.setattr(side_by_side, "_rest", rest)
    with pytest.raises(SystemExit):
        side_by_side.run_side_by_side(folder, ["a", "b"], 2)
    assert processes and not any(process.is_running() for process in processes)
