"""Who may import whom: an attacker that could import the victim's weights would not be black-box."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

VICTIMS_PUBLIC = ("victims.types", "victims.datasets", "victims.architectures")
"""What of the victim's side an attacker may know: how to ask, images, and kinds of networks."""

CELL = ("storage", "privacy", "pow", "gate", "training", "victims", "extraction")

MAY_IMPORT = {
    "storage": (),
    "privacy": (),
    "pow": ("storage", "privacy"),
    "gate": ("storage", "privacy", "pow"),
    "training": ("storage",),
    "victims": ("storage", "privacy", "pow", "training"),
    "extraction": ("storage", "training", *VICTIMS_PUBLIC),
    "experiment": CELL,
    "sweeps": (*CELL, "experiment"),
    "hydra_plugins": ("sweeps", "experiment"),
    "commands": (*CELL, "experiment", "sweeps"),
    "run": ("commands", "experiment"),
    "serve": ("commands", "experiment"),
}
OURS = tuple(MAY_IMPORT)


def imported_modules(path: Path) -> set[str]:
    """Dotted names that a file imports, each `from a import b` as a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def files_of(package: str) -> list[Path]:
    script = ROOT / f"{package}.py"
    return [script] if script.exists() else sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", OURS)
def test_imports_go_one_way(package: str) -> None:
    files = files_of(package)
    assert files
    for path in files:
        names = imported_modules(path)
        ours = {name for name in names if name.split(".")[0] in OURS and not within(name, package)}
        wrong = {name for name in ours if not any(within(name, allowed) for allowed in MAY_IMPORT[package])}
        assert not wrong, f"{path.relative_to(ROOT)} may not import {sorted(wrong)}"


def test_every_package_is_listed() -> None:
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for package in OURS
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert listed == folders


def test_wrong_arrow_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "attack.py"
    path.write_text("from victims.victim import make_victim\nfrom victims import oracle\n")
    assert imported_modules(path) == {"victims.victim.make_victim", "victims.oracle"}
