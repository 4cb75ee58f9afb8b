"""Shared fixtures. With TOLLGATE_NO_SKIPS set, a test that would be skipped fails instead."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from support.grids.reports import write_cell

settings.register_profile("untimed", deadline=None)  # no test asserts how long something takes
settings.load_profile("untimed")

pytest_plugins = [
    "support.gates.over_http",
    "support.gates.ledgers",
    "support.grids.on_cluster",
    "support.tracking.user",
]
"""Their fixtures serve several files; as plugins, they also tell what an assertion of theirs compared."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("TOLLGATE_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A folder with finished cells: three seeds of one attack, one of another."""
    for seed, last in enumerate([0.90, 0.92, 0.97]):
        write_cell(tmp_path / f"{seed}_standard", "standard", seed, [0.5 + seed / 10, last])
    write_cell(tmp_path / "3_knockoff", "knockoff", 0, [0.3, 0.6])
    return tmp_path


LONGEST = (
    *("test_slurm.py", "test_cell.py", "test_local_sweep.py", "test_remote.py", "test_defended_cells.py"),
    *("test_readme.py", "test_options.py", "test_documents.py"),
)
"""Files that take longest, some of it waiting: begun first, so that none is left alone at the end."""

NEEDS = {"cluster": "slurm", "browser": "browser"}
"""Fixtures of which `make test` runs no test, and the marks of those that it leaves to `make test-slow`."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    for item in items:
        for fixture in NEEDS.keys() & getattr(item, "fixturenames", ()):
            item.add_marker(NEEDS[fixture])
