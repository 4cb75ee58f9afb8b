"""The project's own code, read from its source: modules, who imports whom, functions, docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def rooms(root: Path = ROOT) -> tuple[str, ...]:
    """The top-level packages and modules of the project, without its tests and benchmarks."""
    packages = {path.parent.name for path in root.glob("*/__init__.py")} - {"tests", "benchmarks"}
    namespaces = {path.parent.name for path in root.glob("hydra_plugins/*.py")}
    return tuple(sorted(packages | namespaces | {path.stem for path in root.glob("*.py")}))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def files_of(package: str, root: Path = ROOT) -> list[Path]:
    """The Python files of a top-level package, or of a module that is one file."""
    script = root / f"{package}.py"
    return [script] if script.exists() else sorted((root / package).rglob("*.py"))


def modules_of(packages: Sequence[str], root: Path = ROOT) -> dict[str, Path]:
    """The files of all modules by their dotted names; a package's is that of its `__init__`."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in packages
        for path in files_of(package, root)
    }


def imported_names(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere in it, each `from a import b` as a.b."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def import_graph(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """The modules that each module imports, of these."""

    def module_of(name: str) -> str | None:
        return next((it for it in (name, name.rpartition(".")[0]) if it in modules), None)

    return {
        module: {found for name in imported_names(path) if (found := module_of(name))} - {module}
        for module, path in modules.items()
    }


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first again at the end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def functions(tree: ast.Module) -> Iterator[Function]:
    """All functions and methods, those within others too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: Function) -> int:
    """Lines from `def` to the last one; decorators do not count."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def public(tree: ast.Module | ast.ClassDef, within: str = "") -> Iterator[tuple[str, Documented]]:
    """Public classes, functions and methods with their names; what is within a function is its own affair."""
    for node in tree.body:
        if isinstance(node, DOCUMENTED) and not node.name.startswith("_"):
            yield within + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{within}{node.name}.")


def undocumented(tree: ast.Module) -> list[str]:
    """Names of what is public and has no docstring."""
    return [name for name, node in public(tree) if not ast.get_docstring(node)]
