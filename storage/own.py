"""The packages of Tollgate's own, whose names a user's modules cannot have."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

OWN = (
    *("commands", "experiment", "extraction", "gate", "pow", "privacy", "storage", "sweeps", "training"),
    "victims",
)


def keep_own_packages() -> None:
    """Import each package, so that no folder that is searched later brings another one of its name."""
    for name in OWN:
        import_module(name)


def named_like_ours(target: str) -> str:
    """A hint for a target that is looked for in one of our packages and may be meant for a user's module."""
    name = target.partition(".")[0]
    here = [place for place in (f"{name}.py", f"{name}/") if Path(place).exists()]
    if name not in OWN or not here or (Path(__file__).parent.parent.resolve() == Path.cwd().resolve()):
        return ""
    return f"; {name} is a package of Tollgate's own, so {here[0]} in this folder needs another name"
