"""Options have the types that the code behind a `_target_` declares for its arguments."""

from __future__ import annotations

import difflib
import inspect
import math
import pkgutil
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

KINDS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: ("a number", lambda value: _is_number(value)),
    str: ("a word", lambda value: isinstance(value, str)),
    type(None): ("null", lambda value: value is None),
}
"""What a value of a type is called, and how it is told. Other types are left to the code that has them."""


def check_types(node: Any, option: str, target: object = None) -> None:
    """Check the values of a config node, and of the nodes in it, against what their targets declare.

    Args:
        node: A node with `_target_`, a mapping of such nodes, or anything else, which is left alone.
        option: The option that holds the node.
        target: What the node makes, where it has no `_target_`.

    Raises:
        ValueError: A value has another type, or the target has no such option; the message names it.
    """
    if not isinstance(node, Mapping):
        if target is not None:
            raise ValueError(f"{option} must be a group of options, not {node!r}")
        return
    made = target if target is not None else _found(node.get("_target_"))
    if not node.get("_partial_"):  # whoever completes it says first whether it is of the right kind
        check_names(node, option, made)
    declared = _declared(made)
    for name, value in node.items():
        own = f"{option}.{name}"
        if isinstance(value, Mapping):
            check_types(value, own)
        elif name in declared:
            _check(own, value, declared[name])


def check_names(node: Mapping[str, Any], option: str, target: object) -> None:
    """Raise ValueError for a name that is no argument of the target; the message lists those that are."""
    valid = _arguments(target)
    for name in node:
        if valid is not None and not name.startswith("_") and name not in valid:
            raise ValueError(unknown(option, name, valid))


def unknown(option: str, name: str, valid: Iterable[str]) -> str:
    """The sentence about a name that `option` does not have."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, 1)
    guess = f"; did you mean {option}.{close[0]}? Valid" if close else "; valid"
    return f"{option} has no {name!r}{guess}: {', '.join(names) or 'none'}"


def _arguments(target: object) -> list[str] | None:
    """The names of a target's arguments; None where it takes any, or they cannot be told."""
    try:
        parameters = inspect.signature(target).parameters.values()  # type: ignore[arg-type] # else TypeError
    except (TypeError, ValueError):
        return None
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return None
    return [each.name for each in parameters if each.kind is not inspect.Parameter.VAR_POSITIONAL]


def _check(option: str, value: object, declared: Any) -> None:
    parts = _parts(declared)
    if any(get_origin(part) is Literal and value in get_args(part) for part in parts):
        return
    if any(part not in KINDS and get_origin(part) is not Literal for part in parts):
        return
    if any(part in KINDS and KINDS[part][1](value) for part in parts):
        return
    valid = [KINDS[part][0] if part in KINDS else f"one of {', '.join(get_args(part))}" for part in parts]
    raise ValueError(f"{option} must be {' or '.join(valid)}, not {value!r}")


def _parts(declared: Any) -> tuple[Any, ...]:
    """The alternatives of a declared type."""
    if get_origin(declared) in (Union, types.UnionType):
        return tuple(part for each in get_args(declared) for part in _parts(each))
    return (declared,)


def _declared(target: object) -> dict[str, Any]:
    """The types of a target's arguments, as far as they can be told."""
    if target is None:
        return {}
    made_by: Any = target
    if isinstance(target, type) and not is_dataclass(target):
        made_by = next(vars(each)["__init__"] for each in target.__mro__ if "__init__" in vars(each))
    try:
        return get_type_hints(made_by)
    except (NameError, TypeError, AttributeError):
        return {}


def _found(path: object) -> object:
    """What lies at a dotted path, or None: whoever instantiates it says what is wrong."""
    try:
        return pkgutil.resolve_name(path) if isinstance(path, str) else None
    except (ImportError, AttributeError, ValueError):
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
