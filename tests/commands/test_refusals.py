"""Odd files, folders and flags: each is answered by one sentence, and nothing is made."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from yaml import safe_load
from yaml.error import MarkedYAMLError

from commands.hydra_app.errors import FULL_ERROR, readable_errors
from commands.main import main
from gate.client import Client, read_image
from storage.conf import CONF
from storage.errors import InputError
from storage.files import check_writable
from support.commands import run_program, run_python
from support.grids.reports import write_cell
from sweeps.launch.folder import SweepFolder
from sweeps.report.results import load_cells

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *arguments: str) -> str:
    """The last line on standard error of a subcommand that refuses its arguments."""
    try:
        code = main([*arguments])
    except SystemExit as stop:
        code = int(str(stop.code))
    assert code in (1, 2)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1]


def all_said(capsys: Capture, *arguments: str) -> str:
    """All that is said on standard error of arguments that are refused."""
    with pytest.raises(SystemExit):
        main([*arguments])
    return capsys.readouterr().err


def test_the_version_is_told(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tollgate 0.")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.parquet"], "error: TRACE none.parquet: there is no such file"),
        (["."], "error: TRACE .: there is no such file"),
        (["trace.csv", "--benign", "none"], "error: --benign none: there is no such file"),
        (["trace.csv", "--config-dir", "none"], "error: --config-dir none: there is no such folder"),
        (["trace.csv", "--seed", "-1"], "error: --seed must be a whole number of at least 0, not -1"),
    ],
)
def test_a_replay_of_what_is_not_there(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trace.csv").write_text("time,privacy,queries\n1,2,3\n")
    assert said(capsys, "replay", *arguments) == sentence


@pytest.mark.parametrize("hashes", ["nan", "-1", "0", "inf", "many"])
def test_a_limit_of_hashes_is_a_number(hashes: str, capsys: Capture) -> None:
    ask = ("ask", "http://127.0.0.1:1", "x.png", "--key", "k", "--max-hashes", hashes)
    assert said(capsys, *ask).endswith(f"argument --max-hashes: {hashes!r} is not a number of at least 1")


@pytest.mark.parametrize(
    ("url", "key", "sentence"),
    [
        ("http://[::1", "k", "'http://[::1' is not the address of a gate"),
        ("127.0.0.1:8000", "k", "the address of a gate begins with http:// or https://"),
        ("ftp://there", "k", "the address of a gate begins with http:// or https://"),
        ("http://there", "ké", "an API key has ASCII letters, digits and signs only"),
        ("http://there", "k\nX-Else: 1", "an API key has ASCII letters, digits and signs only"),
    ],
)
def test_what_is_no_address_or_key_is_not_sent(url: str, key: str, sentence: str, capsys: Capture) -> None:
    assert sentence in said(capsys, "ask", url, "x.png", "--key", key)
    with pytest.raises(ValueError, match=r"address|API key"):
        Client(url, key)


def test_a_picture_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b""))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ValueError, match=r"huge.png .*Image size"):
        read_image(tmp_path / "huge.png", (1, 28, 28))


def test_a_folder_that_holds_no_sweep_is_said_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from commands.main import main\n"
        "try: main(['status', sys.argv[1]])\n"
        "finally: print('torch' in sys.modules, 'pandas' in sys.modules)"
    )
    process = run_python("-c", code, str(tmp_path))
    assert f"{tmp_path} is not the folder of a sweep" in process.stderr
    assert process.stdout.strip() == "False False"


@pytest.mark.parametrize(("name", "content"), [("plan.json", "{ half"), ("plan.json", "[]")])
def test_a_damaged_plan_is_said(name: str, content: str, tmp_path: Path, capsys: Capture) -> None:
    folder = SweepFolder(tmp_path)
    folder.root.mkdir()
    (folder.root / name).write_text(content)
    assert said(capsys, "status", str(tmp_path)).endswith("given again, writes it anew")


@pytest.mark.parametrize("content", ["{ half", "[]", "null"])
def test_damaged_jobs_are_said(content: str, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    folder.root.mkdir()
    assert folder.jobs() == {}
    (folder.root / "jobs.json").write_text(content)
    with pytest.raises(InputError, match="delete it once none of the sweep's jobs runs"):
        folder.jobs()


@pytest.mark.parametrize("content", ["", "{ half", "[]", '{"final": {}}'])
def test_damaged_results_are_left_out_and_said(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last one lacks its curve."""
    (tmp_path / "result.json").write_text(content)
    assert load_cells([tmp_path]) == []
    assert f"{tmp_path} is left out" in caplog.text


@pytest.mark.parametrize("content", ["dataset: {name: [", "- a list\n", b"\xff\xfe"])
def test_cells_with_a_damaged_config_are_left_out_and_said(
    content: str | bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_cell(tmp_path / "0", "knockoff", 0, [0.5])
    (tmp_path / "0" / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert load_cells([tmp_path]) == []
    assert f"{tmp_path / '0'} is left out" in caplog.text


def test_a_report_that_cannot_be_written_is_said(tmp_path: Path, capsys: Capture) -> None:
    write_cell(tmp_path / "0", "knockoff", 0, [0.5])
    (tmp_path / "file").touch()
    said = all_said(capsys, "report", str(tmp_path), "--out", str(tmp_path / "file"))
    assert "cannot write to" in said and "--out" in said and "Traceback" not in said


@pytest.mark.parametrize("store", [None, 3, ["a"]])
def test_what_names_no_folder(store: object) -> None:
    for make in (True, False):
        with pytest.raises(OSError, match=r"paths.store must name a folder, not "):
            check_writable(store, "paths.store", make)


def test_a_plan_looks_whether_it_can_be_written_and_makes_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b", "paths.store", make=False)
    assert not [*tmp_path.iterdir()]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write to .*file.b \(paths.store\): Not a directory"):
        check_writable(tmp_path / "file" / "b", "paths.store", make=False)


def test_a_file_that_is_no_yaml_is_named_with_its_line(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FULL_ERROR, "0")  # which the context changes for the whole process
    with pytest.raises(SystemExit), readable_errors(CONF):
        safe_load("name: [unclosed")
    assert "is no YAML: line 1, column 16: expected ',' or ']'" in capsys.readouterr().err
    with pytest.raises(MarkedYAMLError):
        OmegaConf.create("name: [unclosed")


@pytest.mark.parametrize("grid", [[], ["-m", "seed=0,1"]])
def test_a_plan_leaves_nothing(grid: list[str], tmp_path: Path) -> None:
    paths = [f"paths.store={tmp_path}/store", f"paths.output={tmp_path}/outputs"]
    process = run_program("run.py", *grid, "--dry-run", "logger=none", *paths)
    assert process.returncode == 0 and "results go to" in process.stdout, process.stderr
    assert not [*tmp_path.iterdir()]


def test_a_launcher_that_plans_nothing_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    paths = [f"paths.store={tmp_path}/store", f"paths.output={tmp_path}/outputs"]
    process = run_program("run.py", "-m", "seed=0,1", "hydra/launcher=basic", *paths)
    assert process.returncode == 1
    assert "hydra/launcher=basic does not plan a grid" in process.stderr
    assert not [*tmp_path.iterdir()]


def test_results_that_cannot_be_written_anywhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = run_program("run.py", f"hydra.run.dir={tmp_path}/file/x", f"paths.store={tmp_path}/store")
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert json.dumps(str(tmp_path / "file"))[1:-1] in process.stderr


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+atack=knockoff", "error: atack: there is no 'atack' in the config. Did you mean attack? Valid: "),
        ("+attack.bugdet=3", "there is no 'bugdet' in attack. Did you mean attack.budget?"),
        ("++dataset.bugdet=3", "there is no 'bugdet' in dataset. Did you mean dataset.budget?"),
        ("+privacy.accountin=3", "Did you mean privacy.accounting?"),
        ("paths.store=a=b", "needs quotes of its own"),
        ("paths.store=世界", "needs quotes of its own"),
    ],
)
def test_what_is_added_and_read_by_nobody_is_refused(
    override: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv(FULL_ERROR, "0")  # which a command in this process sets
    assert sentence in all_said(capsys, "run", "--cfg", "job", override)


def test_no_advice_to_add_what_nobody_reads(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv(FULL_ERROR, "0")
    assert all_said(capsys, "run", "--cfg", "job", "atack=knockoff").count("To append") == 0


@pytest.mark.parametrize(
    "override",
    ["+gain@pow_calibration.gains.more=volume", "+puzzle.options.x=1", "+privacy.measures.mine={}"],
)
def test_what_is_added_where_names_are_free_is_left_alone(
    override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FULL_ERROR, "0")
    assert main(["run", "--cfg", "job", override]) == 0


def test_a_folder_whose_name_is_too_long_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv(FULL_ERROR, "0")
    folder = tmp_path / ("x" * 300)
    assert "File name too long" in all_said(capsys, "run", "logger=none", f"paths.output={folder}")
