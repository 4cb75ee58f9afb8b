"""What a sweep says while it runs."""

from __future__ import annotations

import io
import logging
import logging.config
import time
from pathlib import Path

import pytest
from rich.console import Console

from sweeps.launch.overview import Overview, TimeToGo, quiet


def on_a_terminal(overview: Overview) -> io.StringIO:
    """Give the overview a terminal, whose content is returned."""
    file = io.StringIO()
    overview.console = Console(file=file, force_terminal=True, width=80)
    return file


def test_on_a_terminal_the_line_is_renewed_by_itself() -> None:
    lines = iter(f"{number} done" for number in range(100))
    overview = Overview(lambda: next(lines))
    file = on_a_terminal(overview)
    with overview.shown():
        time.sleep(1.3)
    assert "1 done" in file.getvalue() and "2 done" in file.getvalue()


def test_elsewhere_a_line_is_said_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    with Overview(lambda: "1 cell: 0 done").shown() as overview:
        for _ in range(5):
            overview.tell()
        assert capsys.readouterr().out == "1 cell: 0 done\n"
        overview.last -= 61
        overview.tell()
        assert capsys.readouterr().out == "", "the same is not said again"


def test_time_to_go_follows_from_the_work_that_is_done() -> None:
    to_go = TimeToGo(10)
    assert to_go.words() == "", "nothing is known yet"
    to_go.started -= 60
    to_go.done = 2
    assert to_go.words() == "; about 4.0 minutes to go"
    to_go.done = 10
    assert to_go.words() == ""


def test_warnings_reach_the_terminal_and_the_rest_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = {
        "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
        "file": {"class": "logging.FileHandler", "filename": str(tmp_path / "log")},
    }
    root = {"level": "INFO", "handlers": ["console", "file"]}
    before = logging.root.handlers[:]
    try:
        logging.config.dictConfig(
            quiet({"version": 1, "handlers": handlers, "root": root, "disable_existing_loggers": False})
        )
        for level in ("info", "warning", "error"):
            getattr(logging.getLogger("cell"), level)(f"an {level}")
    finally:
        logging.root.handlers[:] = before
    assert capsys.readouterr().out == "an warning\n"
    assert (tmp_path / "log").read_text() == "an info\nan warning\nan error\n"
