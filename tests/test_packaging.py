"""The wheel: it holds every file of ours, and the bare distribution asks for little."""

from __future__ import annotations

import os
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


NATIVE = "pow/puzzles/native.abi3.so"


def held_by(wheel: Path) -> set[str]:
    """Paths of what a wheel installs."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def files_of(folder: Path) -> set[str]:
    """Paths of what lies in our packages below a folder."""
    return {
        path.relative_to(folder).as_posix()
        for package in PACKAGES
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def built(source: Path, **variables: str) -> Path:
    """The wheel, made in a copy of the packages in the folder `source`."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    code = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=source,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (path,) = (source / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made in a copy of the packages."""
    return built(tmp_path_factory.mktemp("source"))


def test_it_holds_every_file_of_ours(wheel: Path) -> None:
    """The config and the launchers, the page's files and the marks of typed packages among them."""
    held = held_by(wheel)
    assert held == files_of(ROOT) | {NATIVE}
    assert {"conf/config.yaml", "hydra_plugins/tollgate.py", "gate/page/index.html"} <= held
    typed = {name.removesuffix("/py.typed") for name in held if name.endswith("/py.typed")}
    assert typed == set(PACKAGES) - {"conf", "hydra_plugins"}


def test_it_is_built_where_nothing_compiles(tmp_path: Path) -> None:
    """Then hashlib solves; see tests/pow/puzzles/test_native.py."""
    held = held_by(built(tmp_path, CC="false"))
    assert NATIVE not in held and "pow/puzzles/sha256.py" in held


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
