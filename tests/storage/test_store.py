"""The store: one making, whole entries only, resumable work, and locks that outlive their owners."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.files import file_hash
from storage.lock import HeartbeatLock
from storage.store import Store, identity_key
from support.commands import run_python

IDENTITY = {"dataset": "digits", "seed": 0}


def write_five(directory: Path) -> None:
    (directory / "weights.bin").write_bytes(b"12345")


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    calls = []

    def make(directory: Path) -> None:
        calls.append(directory)
        write_five(directory)

    first = Store(tmp_path).get("victims", IDENTITY, make)
    second = Store(tmp_path).get("victims", dict(reversed(IDENTITY.items())), make)
    assert len(calls) == 1
    assert (first.made, second.made) == (True, False)
    assert first.path == second.path
    assert (second.path / "weights.bin").read_bytes() == b"12345"
    assert not list(tmp_path.rglob("*.lock")) and not list(tmp_path.rglob("*.work"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "marker", "no marker"])
def test_a_damaged_entry_is_said_and_made_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    entry = store.get("victims", IDENTITY, write_five)
    file, marker = entry.path / "weights.bin", entry.path / "DONE"
    match damage:
        case "flip":
            file.write_bytes(b"12344")
        case "truncate":
            file.write_bytes(b"123")
        case "remove":
            file.unlink()
        case "marker":
            marker.write_text("{")
        case "no marker":
            marker.unlink()
    with caplog.at_level(logging.WARNING):
        again = store.get("victims", IDENTITY, write_five)
    assert again.made
    assert "damaged" in caplog.text and again.key in caplog.text
    assert file.read_bytes() == b"12345"


def test_a_failed_make_leaves_no_entry(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("x")
        raise RuntimeError("no luck")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="no luck"):
        store.get("victims", IDENTITY, fail)
    entry = store.get("victims", IDENTITY, write_five)
    assert entry.made
    assert not (entry.path / "half").exists()


def test_resumable_work_is_handed_on(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("x")
        raise RuntimeError("killed")

    def go_on(directory: Path) -> None:
        assert (directory / "half").read_text() == "x"
        write_five(directory)

    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.get("extractions", IDENTITY, fail, resumable=True)
    assert store.get("extractions", IDENTITY, go_on, resumable=True).made


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)),
)
def test_keys_differ_where_identities_do(a: dict[str, object], b: dict[str, object]) -> None:
    assert (identity_key(a) == identity_key(b)) == (a == b)
    assert identity_key(dict(reversed(a.items()))) == identity_key(a)


def _make_slowly(root: Path) -> None:
    def make(directory: Path) -> None:
        time.sleep(0.3)
        with (root / "made").open("a") as file:
            file.write("x")
        write_five(directory)

    Store(root).get("victims", IDENTITY, make)


def test_many_processes_make_one_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_make_slowly, args=(tmp_path,)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 8
    assert (tmp_path / "made").read_text() == "x"


def _hold(path: Path, ready: Path) -> None:
    with HeartbeatLock(path, heartbeat=0.1):
        ready.touch()
        time.sleep(60)


def test_a_killed_owner_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path, ready = tmp_path / "a.lock", tmp_path / "ready"
    owner = multiprocessing.get_context("fork").Process(target=_hold, args=(path, ready))
    owner.start()
    while not ready.exists():
        time.sleep(0.01)
    waiter = HeartbeatLock(path, heartbeat=0.1, stale_after=1.0, poll=0.05)
    time.sleep(1.5)
    assert not waiter._is_stale(), "the owner's heartbeat keeps the lock alive"
    assert owner.pid is not None
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    started = time.monotonic()
    with waiter:
        assert time.monotonic() - started < 10
        assert path.exists()
    assert not path.exists()


def test_an_owner_of_this_machine_that_is_gone_is_replaced_at_once(tmp_path: Path) -> None:
    path, ready = tmp_path / "a.lock", tmp_path / "ready"
    owner = multiprocessing.get_context("fork").Process(target=_hold, args=(path, ready))
    owner.start()
    while not ready.exists():
        time.sleep(0.01)
    owner.kill()
    owner.join()
    with HeartbeatLock(path, stale_after=1e6):
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"pid_namespace": "pid:[1]"}])
def test_an_owner_elsewhere_is_replaced_when_its_heartbeat_has_stopped(
    tmp_path: Path, elsewhere: dict[str, str]
) -> None:
    path = tmp_path / "a.lock"
    with HeartbeatLock(path):
        content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"pid": 2**30, "token": "theirs"} | elsewhere))
    touched = path.stat().st_mtime
    with HeartbeatLock(path, stale_after=0.3, poll=0.05):
        assert path.stat().st_mtime - touched > 0.3
        assert json.loads(path.read_text())["pid"] == os.getpid()


def older_entry(root: Path, kind: str, name: str) -> Path:
    """An entry as the code wrote it before DONE held a layout: the hash of each file, and no more."""
    folder = root / kind / name
    folder.mkdir(parents=True)
    write_five(folder)
    (folder / "identity.json").write_text(json.dumps(IDENTITY))
    hashes = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
    (folder / "DONE").write_text(json.dumps(hashes))
    return folder


def test_entries_of_an_older_layout_are_said_once_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = [older_entry(tmp_path, "victims", f"{number:016x}") for number in range(2)]
    store = Store(tmp_path)
    for seed in range(2):
        assert store.get("victims", IDENTITY | {"seed": seed}, write_five).made
    store.get("teachers", IDENTITY, write_five)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{tmp_path / 'victims'} holds 2 entries of an older layout, which are not used")
    assert "may be deleted" in said
    assert all((folder / "DONE").exists() for folder in older)


def test_an_entry_that_is_there_is_used_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Store(tmp_path).get("victims", IDENTITY, write_five)
    older_entry(tmp_path, "victims", "0" * 16)
    assert not Store(tmp_path).get("victims", IDENTITY, write_five).made
    assert not caplog.records


def test_an_older_entry_is_not_taken_for_one_of_this_layout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older_entry(tmp_path, "victims", identity_key(IDENTITY))
    assert not Store(tmp_path).has("victims", IDENTITY)
    assert not caplog.records, "it is older, and not damaged"


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_job_that_stood_still_uses_what_took_its_place_made(
    resumable: bool, fails: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)

    def stand_still(directory: Path) -> None:
        directory.with_suffix(".lock").unlink()  # as the other does, once this one's heartbeat has stopped
        assert store.get("victims", IDENTITY, write_five, resumable=resumable).made
        if fails:
            raise FileNotFoundError("the work was renamed away")

    with caplog.at_level(logging.WARNING):
        entry = store.get("victims", IDENTITY, stand_still, resumable=resumable)
    assert not entry.made and (entry.path / "weights.bin").read_bytes() == b"12345"
    assert "another one took over" in caplog.text
    assert [path.name for path in entry.path.parent.iterdir()] == [entry.key]


def test_a_disk_that_is_full_is_said_with_the_file(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch; from pathlib import Path; from storage.files import write_tensors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: write_tensors(Path(sys.argv[1]), torch.zeros(5000))\n"
        "except OSError as error: print(error)"
    )
    said = run_python("-c", code, str(tmp_path / "weights.pt")).stdout
    assert said.strip() == f"[Errno 27] File too large: '{tmp_path}/weights.pt'"
