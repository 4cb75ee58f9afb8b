"""The wheel: it holds every file of ours, and the bare distribution asks for little."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from support.commands import ROOT

PACKAGES = (
    *("commands", "conf", "experiment", "extraction", "gate", "hydra_plugins", "pow", "privacy"),
    *("storage", "sweeps", "training", "victims"),
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CLIENT = {"argon2-cffi", "httpx", "numpy", "pillow", "tqdm"}


def files_of(folder: Path) -> set[str]:
    """Paths of what lies in our packages below a folder."""
    return {
        path.relative_to(folder).as_posix()
        for package in PACKAGES
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made in a copy of the packages."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    code = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    (path,) = (source / "dist").glob("*.whl")
    return path


def test_it_holds_every_file_of_ours(wheel: Path) -> None:
    """The config and the launchers, the page's files and the marks of typed packages among them."""
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files_of(ROOT)
    assert {"conf/config.yaml", "hydra_plugins/tollgate.py", "gate/page/index.html"} <= held
    typed = {name.removesuffix("/py.typed") for name in held if name.endswith("/py.typed")}
    assert typed == set(PACKAGES) - {"conf", "hydra_plugins"}


def test_it_brings_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "tollgate = commands.main:main" in archive.read(name).decode()


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}


def test_the_bare_distribution_is_the_client() -> None:
    assert names(PROJECT["dependencies"]) == CLIENT
    extras = PROJECT["optional-dependencies"]
    assert "torch" in names(extras["sweeps"]) and "torch" not in names(extras["gate"])
    for larger, smaller in [("sweeps", "gate"), ("dev", "sweeps")]:
        assert any(
            requirement.startswith("tollgate[") and smaller in requirement for requirement in extras[larger]
        )
