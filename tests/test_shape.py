"""The shape of the code: small rooms, small folders, small functions, and a sentence about each."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

import pytest

from commands.main import SUBCOMMANDS
from support.sources import ROOT, files_of, functions, length, parsed, rooms, undocumented

OURS = rooms()


OPTIONS = {
    "extraction/attacks": "attack",
    "pow/calibration": "pow_calibration",
    "pow/gains": "gain",
    "pow/puzzles": "puzzle",
    "victims/defenses": "defense",
    "victims/measures": "privacy/measure",
}
"""Folders of one file an option, and the config group of those options."""

MOST_FILES = 15
LARGEST_ROOM = 0.25
LONGEST_FUNCTION = 45
MEDIAN_FUNCTION = 7

LINES = (".py", ".js", ".css", ".html")
"""Kinds of files whose lines count."""


def options(root: Path, folder: str) -> set[str]:
    """Names of the options, or subcommands, that a folder has a file for each of; none where it has none."""
    if folder == "commands":
        return {name.replace("-", "_") for name in SUBCOMMANDS}
    return {path.stem for path in (root / "conf" / OPTIONS.get(folder, "-")).glob("*.yaml")}


def crowded(root: Path, packages: Iterable[str]) -> dict[str, int]:
    """Folders with too many Python files, and how many; those that are options of the config do not count."""
    folders = {path.parent for package in packages for path in files_of(package, root)} - {root}
    counts = {}
    for folder in folders:
        name = str(folder.relative_to(root))
        counts[name] = sum(path.stem not in options(root, name) for path in folder.glob("*.py"))
    return {name: count for name, count in counts.items() if count > MOST_FILES}


def test_no_folder_is_crowded() -> None:
    assert not crowded(ROOT, [*OURS, "tests", "benchmarks"])


def test_crowded_folder_is_seen(tmp_path: Path) -> None:
    for folder, files in {"pow": 16, "pow/puzzles": 16, "gate": 15, "conf/puzzle": 0}.items():
        (tmp_path / folder).mkdir(parents=True)
        for number in range(files):
            (tmp_path / folder / f"part{number}.py").touch()
    assert crowded(tmp_path, ["pow", "gate"]) == {"pow": 16, "pow/puzzles": 16}
    (tmp_path / "conf/puzzle/part3.yaml").touch()
    assert crowded(tmp_path, ["pow", "gate"]) == {"pow": 16}


@pytest.mark.parametrize("folder", OPTIONS)
def test_options_stand_in_their_folder(folder: str) -> None:
    assert options(ROOT, folder) & {path.stem for path in (ROOT / folder).glob("*.py")}


def says_what_it_is(tree: ast.Module) -> bool:
    """Whether a package begins with one sentence, with a full stop at its end."""
    text = ast.get_docstring(tree) or ""
    return text.endswith(".") and "\n\n" not in text and ". " not in text.replace("\n", " ")


PACKAGES = [path for package in OURS for path in files_of(package) if path.name == "__init__.py"]


@pytest.mark.parametrize("path", PACKAGES, ids=[str(path.parent.relative_to(ROOT)) for path in PACKAGES])
def test_each_package_says_what_it_is(path: Path) -> None:
    assert says_what_it_is(parsed(path))


@pytest.mark.parametrize("text", ["", '"""Prices"""', '"""Prices. And bills."""', '"""Prices.\n\nBills."""'])
def test_package_that_does_not_say_what_it_is_is_seen(text: str) -> None:
    assert says_what_it_is(ast.parse('"""What an answer costs."""'))
    assert not says_what_it_is(ast.parse(text))


def lines_of_rooms(root: Path, packages: Iterable[str]) -> dict[str, int]:
    """Lines of each top-level package or module."""
    return {
        package: sum(
            len(path.read_text().splitlines())
            for path in {*(root / package).rglob("*"), root / f"{package}.py"}
            if path.suffix in LINES and path.is_file()
        )
        for package in packages
    }


def too_large(lines_of: Mapping[str, int]) -> dict[str, float]:
    """Rooms with more than their share of all lines, and that share."""
    whole = sum(lines_of.values())
    return {name: lines / whole for name, lines in lines_of.items() if lines > LARGEST_ROOM * whole}


def test_no_room_is_too_large() -> None:
    assert not too_large(lines_of_rooms(ROOT, OURS))


def test_too_large_room_is_seen(tmp_path: Path) -> None:
    for name, lines in {
        "gate/a.py": 10,
        "gate/page/b.js": 5,
        "pow/c.py": 15,
        "run.py": 14,
        "d/e.py": 16,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n" * lines)
    lines_of = lines_of_rooms(tmp_path, ["gate", "pow", "run", "d"])
    assert lines_of == {"gate": 15, "pow": 15, "run": 14, "d": 16}
    assert too_large(lines_of) == {"d": 16 / 60}


def lengths(paths: Iterable[Path]) -> dict[str, int]:
    """Lines of each function, by its file, line and name."""
    return {
        f"{path}:{function.lineno} {function.name}": length(function)
        for path in paths
        for function in functions(parsed(path))
    }


def too_long(found: Mapping[str, int]) -> dict[str, int]:
    """Functions that are longer than they may be."""
    return {name: lines for name, lines in found.items() if lines > LONGEST_FUNCTION}


def our_files() -> list[Path]:
    return [path for package in (*OURS, "benchmarks") for path in files_of(package)]


def test_functions_are_short() -> None:
    found = lengths(our_files())
    assert len(found) > 1000
    assert not too_long(found)
    assert median(found.values()) <= MEDIAN_FUNCTION


def test_long_function_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text(
        "@cached\n@property\ndef fits():\n"
        + "    x = 1\n" * 44
        + "class Thing:\n    async def grows(self):\n"
        + "        x = 1\n" * 45
    )
    assert too_long(lengths([path])) == {f"{path}:49 grows": 46}


def test_what_is_public_is_documented() -> None:
    found = {str(path.relative_to(ROOT)): undocumented(parsed(path)) for path in our_files()}
    assert not {path: names for path, names in found.items() if names}


def test_missing_docstring_is_seen() -> None:
    text = '''
class Thing:
    """A thing."""
    def method(self):
        pass
    def _own(self):
        pass
    class Part:
        pass
def function():
    def inner():
        pass
def _helper():
    pass
async def asked():
    pass
def told():
    """Says so."""
'''
    assert undocumented(ast.parse(text)) == ["Thing.method", "Thing.Part", "function", "asked"]
