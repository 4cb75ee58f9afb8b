"""Options have the types and bounds that the code behind a `_target_` declares for its arguments."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import pkgutil
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from storage.own import named_like_ours

MOST_WHOLE = 2**53
"""Beyond it a whole number is no longer one in JSON, and no tensor has so many entries."""

MOST = 1e30
"""Beyond it products of options are no longer numbers."""


@dataclass(frozen=True)
class Bounds:
    """A finite number from `low` to `high`; `above` and `below` leave out the end itself.

    Without bounds at all infinity may be one, too (`finite=False`).
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    finite: bool = True

    def hold(self, value: float) -> bool:
        """Whether a number lies between them."""
        if self.finite and not math.isfinite(value):
            return False
        over = self.low < value if self.above else self.low <= value
        under = value < self.high if self.below else value <= self.high
        return over and under

    def __str__(self) -> str:
        """In words, to come after those for the type."""
        if math.isfinite(self.low) and math.isfinite(self.high) and not (self.above or self.below):
            return f" between {self.low:.15g} and {self.high:.15g}"
        low = "" if math.isinf(self.low) else f"{'above' if self.above else 'of at least'} {self.low:g}"
        high = "" if math.isinf(self.high) else f"{'below' if self.below else 'at most'} {self.high:g}"
        return " " + " and ".join(part for part in (low, high) if part)


Finite = Annotated[float, Bounds()]
Count = Annotated[int, Bounds(1)]
Natural = Annotated[int, Bounds(0)]
Positive = Annotated[float, Bounds(0, above=True)]
NonNegative = Annotated[float, Bounds(0)]
Share = Annotated[float, Bounds(0, 1)]
AboveNone = Annotated[float, Bounds(0, 1, above=True)]
BelowOne = Annotated[float, Bounds(0, 1, below=True)]
Part = Annotated[float, Bounds(0, 1, above=True, below=True)]
"""A share that is neither nothing nor all."""


KINDS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: _is_number(value, numbers.Integral)),
    float: ("a number", lambda value: _is_number(value, numbers.Real)),
    str: ("a word", lambda value: isinstance(value, str) and value != ""),
    type(None): ("null", lambda value: value is None),
}
"""What a value of a type is called, and how it is told. Other types are left to the code that has them."""


NONE = Bounds(finite=False)
"""Of an option that no bounds are declared for."""


@dataclass(frozen=True)
class _Part:
    """One alternative of a declared type: a class, a generic or a Literal, and its bounds."""

    kind: Any
    bounds: Bounds = NONE

    @property
    def origin(self) -> Any:
        return get_origin(self.kind)

    @property
    def is_scalar(self) -> bool:
        """Whether values are told by themselves, and are no group and no list."""
        return self.kind in KINDS or self.origin is Literal

    @property
    def is_group(self) -> bool:
        """Whether a value is a group of options with names."""
        return (self.origin is not None and _is(self.origin, Mapping)) or _has_options(self.kind)

    @property
    def is_list(self) -> bool:
        return self.origin is not None and not self.is_group and _is(self.origin, Sequence)

    def takes(self, value: object) -> bool:
        """Whether a value that is no group and no list is one of these."""
        if self.origin is Literal:
            return any(type(value) is type(each) and value == each for each in get_args(self.kind))
        if self.kind not in KINDS:
            return _is_class(self.kind) and isinstance(value, self.kind)
        return KINDS[self.kind][1](value) and (not isinstance(value, int | float) or self._within(value))

    def _within(self, value: float) -> bool:
        return isinstance(value, bool) or self.bounds.hold(value)

    def __str__(self) -> str:
        if self.origin is Literal:
            return f"one of {', '.join(map(str, get_args(self.kind)))}"
        if self.kind in KINDS:
            return f"{KINDS[self.kind][0]}{self.bounds}".rstrip()
        return self._list() if self.is_list else "a group of options"

    def _list(self) -> str:
        kinds = [kind for kind in get_args(self.kind) if kind is not Ellipsis]
        each = " or ".join(map(str, _parts(kinds[0])))
        return f"a list of {len(kinds)}, each {each}" if len(kinds) > 1 else f"a list, each {each}"


def check_types(node: Any, option: str, target: object = None) -> None:
    """Check the values of a config node, and of the nodes in it, against what their targets declare.

    Args:
        node: A node with `_target_`, a mapping of such nodes, or anything else, which is left alone.
        option: The option that holds the node.
        target: What the node makes, where it has no `_target_`; a TypedDict for one that is only read.

    Raises:
        ValueError: A value has another type or is out of bounds, or the target has no such option; the
            message names it.
    """
    if not isinstance(node, Mapping):
        if target is not None:
            raise ValueError(f"{option} must be a group of options, not {node!r}")
        return
    made = found(node["_target_"], f"{option}._target_") if "_target_" in node else target
    check_value(f"{option}._partial_", node.get("_partial_", False), bool)
    if not node.get("_partial_"):  # whoever completes it says first whether it is of the right kind
        check_names(node, option, made)
    check_values(node, option, made)


def check_values(node: Mapping[str, Any], option: str, *targets: Any) -> None:
    """Check the values of a group of options, and of the groups in it, against what its targets declare.

    Args:
        node: The group; it may hold more than the targets declare.
        option: Its name.
        targets: Classes, TypedDicts or functions.

    Raises:
        ValueError: A value has another type or is out of bounds; the message names it.
    """
    declared = {name: kind for target in targets for name, kind in _declared(target).items()}
    for name, value in node.items():
        own = f"{option}.{name}"
        if name in declared:
            check_value(own, value, declared[name])
        elif isinstance(value, Mapping):
            check_types(value, own)


def check_declared(settings: object, option: str) -> None:
    """Check the attributes of an object against what its class declares for the arguments of their names.

    Args:
        settings: The object.
        option: The option that holds it, for the message.

    Raises:
        ValueError: A value has another type or is out of bounds; the message names it.
    """
    of: Any = type(settings)
    for name, declared in _declared(of).items():
        if hasattr(settings, name):
            check_value(f"{option}.{name}", getattr(settings, name), declared)


def check_value(option: str, value: Any, declared: Any) -> None:
    """Raise ValueError, naming the option, unless the value is of the declared type and within its bounds."""
    parts = _parts(declared)
    if isinstance(value, Mapping):
        _check_group(option, value, parts)
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(part.is_list for part in parts):
        _check_list(option, value, next(part for part in parts if part.is_list))
    elif not any(part.takes(value) for part in parts) and all(_is_told(part) for part in parts):
        raise _refused(option, value, parts)


def check_names(node: Mapping[str, Any], option: str, target: Any) -> None:
    """Raise ValueError for a name that is no argument of the target; the message lists those that are."""
    valid = _arguments(target)
    for name in node:
        if valid is not None and not str(name).startswith("_") and name not in valid:
            raise ValueError(unknown(option, name, valid))


def unknown(option: str, name: str, valid: Iterable[str]) -> str:
    """The sentence about a name that `option` does not have."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, 1)
    guess = f"; did you mean {option}.{close[0]}? Valid" if close else "; valid"
    return f"{option} has no {name!r}{guess}: {', '.join(names) or 'none'}"


def found(path: object, option: str) -> Any:
    """The class or function at a dotted path; raises ValueError, naming `option`, where there is none."""
    if not isinstance(path, str) or not path:
        raise ValueError(f"{option} must be the dotted path of a class or a function, not {path!r}")
    try:
        target = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        why = f"{error}{named_like_ours(path)}"
        raise ValueError(f"{option}={path} cannot be imported: {why}") from error
    if not callable(target):
        raise ValueError(f"{option}={path} must be a class or a function")
    return target


def _check_group(option: str, value: Mapping[str, Any], parts: Sequence[_Part]) -> None:
    if all(part.is_scalar or part.is_list for part in parts):
        raise _refused(option, dict(value), parts)
    group = next((part for part in parts if part.is_group), None)
    if "_target_" in value or group is None:
        check_types(value, option)
    elif _has_options(group.kind):
        check_types(value, option, group.kind)
    else:
        kind = get_args(group.kind)[1]
        for name, each in value.items():
            check_value(f"{option}.{name}", each, kind)


def _check_list(option: str, value: Sequence[Any], part: _Part) -> None:
    kinds = [kind for kind in get_args(part.kind) if kind is not Ellipsis]
    if part.origin is tuple and Ellipsis not in get_args(part.kind):
        if len(value) != len(kinds):
            raise ValueError(f"{option} must be a list of {len(kinds)}, not {value!r}")
    else:
        kinds = kinds * len(value)
    for place, (each, kind) in enumerate(zip(value, kinds, strict=True)):
        check_value(f"{option}[{place}]", each, kind)


def _refused(option: str, value: object, parts: Sequence[_Part]) -> ValueError:
    words = " or ".join(map(str, parts))
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        most = MOST_WHOLE if isinstance(value, int) else MOST
        if abs(value) > most and any(part.kind in (int, float) for part in parts):
            words += f", of a magnitude of at most {most:g}"
    return ValueError(f"{option} must be {words}, not {value!r}")


@cache
def _arguments(target: Any) -> list[str] | None:
    """The names of a target's arguments; None where it takes any, or they cannot be told."""
    if target is None or is_typeddict(target):
        return None
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return None
    return [each.name for each in parameters if each.kind is not inspect.Parameter.VAR_POSITIONAL]


@cache
def _declared(target: Any) -> dict[str, Any]:
    """The types of a target's arguments, as far as they can be told."""
    if target is None:
        return {}
    made_by: Any = target
    if isinstance(target, type) and not _has_options(target):
        made_by = next(vars(each)["__init__"] for each in target.__mro__ if "__init__" in vars(each))
    try:
        return get_type_hints(made_by, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


@cache
def _parts(declared: Any) -> tuple[_Part, ...]:
    """The alternatives of a declared type."""
    if get_origin(declared) in (Union, types.UnionType):
        return tuple(part for each in get_args(declared) for part in _parts(each))
    if get_origin(declared) is Annotated:
        kind, *notes = get_args(declared)
        bounds = next((note for note in notes if isinstance(note, Bounds)), NONE)
        return tuple(_Part(part.kind, bounds) for part in _parts(kind))
    return (_Part(declared),)


def _is_told(part: _Part) -> bool:
    """Whether it can be told of any value if it is one of these."""
    return part.is_scalar or part.is_group or part.is_list


def _has_options(kind: object) -> bool:
    return is_typeddict(kind) or (isinstance(kind, type) and is_dataclass(kind))


def _is_class(kind: object) -> bool:
    return isinstance(kind, type) and kind is not Any and not is_typeddict(kind)


def _is(kind: object, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _is_number(value: object, kind: type) -> bool:
    """Whether it is a number that the arithmetic of options bears; NaN is none."""
    if isinstance(value, bool) or not isinstance(value, kind) or value != value:
        return False
    most = MOST_WHOLE if isinstance(value, numbers.Integral) else MOST
    return abs(value) <= most or value in (math.inf, -math.inf)  # type: ignore[arg-type]
