"""Workers are replaced when they end, and end when their supervisor does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from experiment.serving.workers import supervise
from support.commands import ROOT


def work(folder: Path) -> None:
    """Leave a file with one's number, and wait."""
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def end(folder: Path) -> None:
    """Leave a file with one's number, and end."""
    (folder / str(os.getpid())).touch()


def main(folder: str, does: str = "work") -> None:
    supervise(partial({"work": work, "end": end}[does], Path(folder)), 2, grace=5)


@contextmanager
def supervised(folder: Path, does: str = "work") -> Iterator[subprocess.Popen[bytes]]:
    """A process that supervises two workers."""
    code = f"from test_workers import main; main({str(folder)!r}, {does!r})"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def workers(folder: Path, count: int) -> list[int]:
    """The numbers of all workers that there have been, once there have been so many."""
    deadline = time.monotonic() + 30
    while len(found := sorted(int(path.name) for path in folder.iterdir())) < count:
        assert time.monotonic() < deadline, "there are not so many"
        time.sleep(0.02)
    return found


def test_a_worker_that_is_killed_is_replaced_and_all_end_together(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        first = workers(tmp_path, 2)
        os.kill(first[0], signal.SIGKILL)
        all_of_them = workers(tmp_path, 3)
        process.terminate()
        assert process.wait(10) == 0
        assert not any(psutil.pid_exists(number) for number in all_of_them)


def test_workers_that_end_at_once_are_replaced_later_and_nobody_spins(tmp_path: Path) -> None:
    with supervised(tmp_path, "end") as process:
        workers(tmp_path, 4)
        own = psutil.Process(process.pid)
        before = sum(own.cpu_times()[:2])
        time.sleep(1.0)
        assert sum(own.cpu_times()[:2]) - before < 0.7, "it waits for the pause to end"
        assert len([*tmp_path.iterdir()]) <= 6
        process.terminate()
        assert process.wait(10) == 0


def test_workers_follow_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        both = workers(tmp_path, 2)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while any(psutil.pid_exists(number) for number in both):
            assert time.monotonic() < deadline, "they work on"
            time.sleep(0.02)


EFFORTS = """
import os
from gate.http.metrics import Metrics, forget_worker
if not (worker := os.fork()):
    Metrics().effort.set(3.0)
    os._exit(0)
os.waitpid(worker, 0)
metrics = Metrics()
for _ in range(2):
    told = metrics.exposition().decode().splitlines()
    print(*[line for line in told if line.startswith("tollgate_effort")])
    forget_worker(worker)
"""


def test_the_effort_of_a_worker_that_ended_is_nobodys(tmp_path: Path) -> None:
    names = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", EFFORTS], env=os.environ | names, capture_output=True, check=True, text=True
    )
    assert told.stdout.splitlines() == ["tollgate_effort 3.0", "tollgate_effort 1.0"]
