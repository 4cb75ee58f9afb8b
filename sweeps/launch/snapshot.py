"""The code of a sweep as it was at submission: jobs that start days later run what was submitted."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from storage.files import write_text
from storage.provenance import COMMIT_FILE, git_commit

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = (
    *("commands", "experiment", "extraction", "gate", "pow", "privacy"),
    *("storage", "sweeps", "training", "victims"),
)


def snapshot(root: Path) -> Path:
    """Copy our packages to `<root>/code-<hash>/` unless they lie there already, and return that folder."""
    files = sorted(
        path
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(PROJECT)}\n".encode())
        digest.update(path.read_bytes())
    target = root / f"code-{digest.hexdigest()[:12]}"
    if target.is_dir():
        return target
    work = root / f"code-{os.getpid()}.work"
    for path in files:
        copy = work / path.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    write_text(work / COMMIT_FILE, git_commit() or "")
    try:
        work.rename(target)
    except OSError:  # another head was faster
        shutil.rmtree(work)
    return target


def environment(code: Path) -> dict[str, str]:
    """Variables under which Python takes our packages from `code`, wherever it is started.

    Modules of the user's own are still found in the project's folder, along PYTHONPATH, and in the folder of
    the command.
    """
    paths = [str(code), str(PROJECT), os.environ.get("PYTHONPATH", ""), str(Path.cwd())]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONSAFEPATH": "1"}
