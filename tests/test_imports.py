"""Who may import whom: an attacker that could import the victim's weights would not be black-box."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.sources import ROOT, circle, files_of, import_graph, imported_names, modules_of, rooms

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
    "run": ("commands",),
    "serve": ("commands",),
    "setup": (),
}
OURS = tuple(MAY_IMPORT)

MOST_IMPORTS = 12
"""Modules of ours that one of them may import: at its top, in a function, or for its types only."""


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def wrong_arrows(package: str, root: Path = ROOT) -> list[str]:
    """Imports of a package that the table does not allow."""
    return [
        f"{path.relative_to(root)} may not import {name}"
        for path in files_of(package, root)
        for name in sorted(imported_names(path))
        if name.split(".")[0] in OURS
        and not any(within(name, allowed) for allowed in (package, *MAY_IMPORT[package]))
    ]


def heavy(graph: dict[str, set[str]]) -> dict[str, int]:
    """Modules that import more than they may, with how many."""
    return {module: len(names) for module, names in graph.items() if len(names) > MOST_IMPORTS}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return import_graph(modules_of(OURS))


def test_the_table_holds_every_room() -> None:
    assert set(OURS) == set(rooms())


def test_room_that_the_table_lacks_is_seen(tmp_path: Path) -> None:
    for name in ("gate/__init__.py", "tests/__init__.py", "outputs/log.txt", "run.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert rooms(tmp_path) == ("gate", "run")


@pytest.mark.parametrize("package", OURS)
def test_imports_go_one_way(package: str) -> None:
    assert files_of(package)
    assert not wrong_arrows(package)


def test_wrong_arrow_is_seen(tmp_path: Path) -> None:
    (tmp_path / "extraction").mkdir()
    (tmp_path / "extraction/attack.py").write_text(
        "from victims.victim import make_victim\nfrom victims import oracle, types\nimport training.fit\n"
    )
    assert wrong_arrows("extraction", tmp_path) == [
        "extraction/attack.py may not import victims.oracle",
        "extraction/attack.py may not import victims.victim.make_victim",
    ]


def test_no_circle_among_modules(graph: dict[str, set[str]]) -> None:
    assert not circle(graph)


def test_circle_is_seen(tmp_path: Path) -> None:
    (tmp_path / "pow").mkdir()
    (tmp_path / "pow/__init__.py").write_text("from pow.price import price\n")
    (tmp_path / "pow/price.py").write_text("def price():\n    from pow.bill import bill\n")
    (tmp_path / "pow/bill.py").write_text("from pow import price\n")
    found = circle(import_graph(modules_of(["pow"], tmp_path)))
    assert found[0] == found[-1]
    assert set(found) == {"pow.price", "pow.bill"}


def test_no_module_imports_many(graph: dict[str, set[str]]) -> None:
    assert not heavy(graph)


def test_many_imports_are_seen(tmp_path: Path) -> None:
    (tmp_path / "pow").mkdir()
    names = [f"part{number}" for number in range(13)]
    for name in names:
        (tmp_path / f"pow/{name}.py").touch()
    top, inside, typed = names[:11], names[11], names[12]
    (tmp_path / "pow/drawer.py").write_text(
        f"from typing import TYPE_CHECKING\nfrom pow import {', '.join(top)}\n"
        f"if TYPE_CHECKING:\n    from pow.{typed} import thing\n"
        f"def function():\n    import pow.{inside}\n"
    )
    (tmp_path / "pow/light.py").write_text(f"from pow import {', '.join(names[:12])}\n")
    assert heavy(import_graph(modules_of(["pow"], tmp_path))) == {"pow.drawer": 13}


def test_tests_import_no_test_module() -> None:
    assert not from_tests(sorted((ROOT / "tests").rglob("*.py")))


def test_import_of_a_test_module_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "helper.py"
    path.write_text(
        "from test_pow import helper\nfrom pow.test_bills import bill\nfrom support.sources import parsed\n"
    )
    assert from_tests([path]) == [f"{path}: pow.test_bills.bill", f"{path}: test_pow.helper"]


def from_tests(paths: list[Path]) -> list[str]:
    """Imports from modules that hold tests."""
    return [
        f"{path}: {name}"
        for path in paths
        for name in sorted(imported_names(path))
        if any(part.startswith("test_") for part in name.split(".")[:-1])
    ]
