"""The process that forks for jobs: how they end, where they write, and who ends with whom.

Jobs have nothing to do here, or wait to be told: their file is a pipe.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.commands import ROOT
from sweeps.grid.units import Unit
from sweeps.launch.folder import Job, SweepFolder
from sweeps.launch.fork_server import ForkServer
from sweeps.launch.local import LocalLauncher, local_states

NOTHING = json.dumps({"stage": "extract", "units": [], "logging": {}})


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer(os.environ | {"PYTHONPATH": str(ROOT)})
    yield server
    server.close()


def job_file(folder: Path) -> Path:
    """Where a job's file lies in a sweep's folder."""
    path = folder / ".tollgate" / "jobs" / "job.json"
    path.parent.mkdir(parents=True)
    return path


def code_of(pid: int, server: ForkServer) -> int:
    while pid not in server.ended:
        server.poll(10)
    return server.ended[pid]


def test_exit_codes_and_what_jobs_write(server: ForkServer, tmp_path: Path) -> None:
    path, log = job_file(tmp_path), tmp_path / "log"
    path.write_text(NOTHING)
    log.write_text("before\n")
    assert code_of(server.fork(path, log)[0], server) == 0
    assert log.read_text() == "before\n"
    path.write_text("no JSON")
    assert code_of(server.fork(path, log)[0], server) == 1
    assert log.read_text().startswith("before\nTraceback") and "JSONDecodeError" in log.read_text()


def test_a_job_is_a_process_of_its_own_session(server: ForkServer, tmp_path: Path) -> None:
    path = job_file(tmp_path)
    os.mkfifo(path)
    pid, born = server.fork(path, tmp_path / "log")
    assert psutil.Process(pid).create_time() == born
    while os.getsid(pid) != pid:  # it has not come so far yet
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    assert code_of(pid, server) == -signal.SIGTERM


def test_a_server_that_is_gone_is_told_of(tmp_path: Path) -> None:
    server = ForkServer(os.environ | {"PYTHONPATH": str(ROOT)})
    server.process.kill()
    server.process.wait()
    gone = "the process that forks jobs is gone"
    with pytest.raises(RuntimeError, match=gone):
        server.poll(10)
    with pytest.raises(RuntimeError, match=gone):
        server.fork(tmp_path / "job", tmp_path / "log")
    server.close()


def test_an_owner_that_leaves_without_reading_is_no_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its job has ended, which it has not asked for: the connection is reset, and not just at its end."""
    server = ForkServer(os.environ | {"PYTHONPATH": str(ROOT)})
    path = job_file(tmp_path)
    path.write_text(NOTHING)
    pid, _ = server.fork(path, tmp_path / "log")
    while not server.connection.poll(1) or psutil.pid_exists(pid):
        pass
    server.close()
    assert server.process.returncode == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow  # a whole sweep
def test_an_interrupted_head_ends_its_jobs_and_says_so(tmp_path: Path) -> None:
    launcher, folder = LocalLauncher(processes=1), SweepFolder(tmp_path)
    jobs = [Job(name, "extract", (Unit(name, "extract", ()),), None) for name in ("job", "next")]
    launcher.start(jobs, folder, {})
    path = folder.job_path("job")
    path.unlink()
    os.mkfifo(path)
    launcher.step()
    (pid,) = [pid for _, pid in launcher.running.values()]
    assert launcher.waiting() == {"next"} and local_states(folder.jobs())["job"].word == "running"
    launcher.stop()
    assert not psutil.pid_exists(pid) and launcher.server is None
    assert {unit: state.word for unit, state in local_states(folder.jobs()).items()} == {"job": "cancelled"}


def test_jobs_go_on_when_the_owner_is_gone(server: ForkServer, tmp_path: Path) -> None:
    """The last test here, as it closes the server of the others."""
    path = job_file(tmp_path)
    os.mkfifo(path)
    job = psutil.Process(server.fork(path, tmp_path / "log")[0])
    server.close()
    assert server.process.returncode == 0
    path.write_text(NOTHING)  # which waits until the job reads
    job.wait(timeout=60)
    assert (tmp_path / "log").read_text() == ""
