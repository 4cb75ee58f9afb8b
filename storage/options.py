"""Options: objects made from nodes of the config, and checks whose errors say what is valid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from storage.own import named_like_ours
from storage.typed import check_types

Made = TypeVar("Made")


def instantiate(node: Any, option: str, target: object = None) -> Any:
    """Make the object that a config node describes (`hydra.utils.instantiate`, with plain containers).

    Args:
        node: A node with `_target_`.
        option: The option that holds the node, for the error message.
        target: What the node's values are arguments of, where it has no `_target_`.

    Raises:
        ValueError: The object cannot be made; the message names the option and the cause.
        OSError: A file that the object needs cannot be used.
    """
    import hydra.utils  # here, since the checks below are also used where Hydra is not installed
    from hydra.errors import InstantiationException

    check_types(node, option, target)
    if node is not None and not isinstance(node, Mapping):
        raise ValueError(f"{option} must be a group of options with a _target_, not {node!r}")
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | OSError):
            raise cause from error
        raise ValueError(f"{option}: {cause or error}{named_like_ours(_target(node))}") from error


def settings(kind: type[Made], node: Any, option: str) -> Made:
    """Make settings of a class from the config node that holds its arguments.

    Args:
        kind: The class.
        node: A mapping of its arguments, in which further nodes may have a `_target_`.
        option: The option that holds the node, for the error message.

    Raises:
        ValueError: An argument is unknown, missing or wrong; the message names the option.
        OSError: A file that a node needs cannot be used.
    """
    arguments = instantiate(node, option, kind)
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{option}: {error}") from error


def _target(node: Any) -> str:
    return str(node.get("_target_", "")) if isinstance(node, Mapping) else ""


def check_choice(option: str, value: object, choices: object) -> None:
    """Check that an option has one of its valid values.

    Args:
        option: Full name of the option, for the error message.
        value: Its value.
        choices: A `Literal` type of the valid values.

    Raises:
        ValueError: The value is not valid; the message lists those that are.
    """
    valid = get_args(choices)
    if value not in valid:
        raise ValueError(f"{option} must be one of {', '.join(map(str, valid))}, not {value!r}")


def check_options(
    settings: object, where: str, *options: str, valid: Callable[[Any], bool], rule: str
) -> None:
    """Check several options of one settings object by one rule.

    Args:
        settings: The object; its attributes have the options' names.
        where: Name of the options' config group, for the error message.
        options: Names of the options to check.
        valid: Returns whether a value is valid.
        rule: What a value must be, in words, such as "at least 1".

    Raises:
        ValueError: A value is not valid; the message names the option, the rule and the value.
    """
    for option in options:
        try:
            is_valid = valid(getattr(settings, option))
        except TypeError:  # a word where a number is compared
            is_valid = False
        if not is_valid:
            raise ValueError(f"{where}.{option} must be {rule}, not {getattr(settings, option)!r}")


def check_number(option: str, value: object, low: float, high: float = math.inf, whole: bool = False) -> None:
    """Check that an option is a finite number from `low` to `high`.

    Args:
        option: Full name of the option, for the error message.
        value: Its value, of any type.
        low: The least valid value.
        high: The greatest; infinite: there is none.
        whole: Whether it must be a whole number.

    Raises:
        ValueError: The value is not valid; the message says what is.
    """
    if _is_number(value, int if whole else (int, float)) and low <= value <= high:  # type: ignore[operator]
        return
    kind = "a whole number" if whole else "a number"
    limits = f"of at least {low:g}" if math.isinf(high) else f"between {low:.15g} and {high:.15g}"
    raise ValueError(f"{option} must be {kind} {limits}, not {value!r}")


def check_inside(option: str, value: object, low: float, high: float = math.inf) -> None:
    """Raise a ValueError that names the option unless it is a number and `low < value < high`."""
    if _is_number(value, (int, float)) and low < value < high:  # type: ignore[operator]
        return
    limits = f"above {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
    raise ValueError(f"{option} must be {limits}, not {value!r}")


def _is_number(value: object, kind: type[int] | tuple[type[int], type[float]]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def check_between(option: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError that names the option unless it is a number and `low <= value <= high`."""
    if not (isinstance(value, int | float) and low <= value <= high):
        raise ValueError(f"{option} must be between {low:g} and {high:g}, not {value!r}")
