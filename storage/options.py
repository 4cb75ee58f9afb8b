"""Options: objects made of nodes of the config, and the checks that say what would be valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args


def instantiate(node: Any, option: str) -> Any:
    """Hydra's instantiate, with plain containers, whose error names the option and the cause only.

    Raises ValueError or OSError.
    """
    import hydra.utils  # here, since the checks below serve who has no Hydra
    from hydra.errors import InstantiationException

    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | OSError):
            raise cause from error
        raise ValueError(f"{option}: {cause or error}") from error


def check_choice(option: str, value: object, choices: object) -> None:
    """Raise a ValueError that names the option and its valid values unless `value` is one of them."""
    valid = get_args(choices)
    if value not in valid:
        raise ValueError(f"{option} must be one of {', '.join(map(str, valid))}, not {value!r}")


def check_options(
    settings: object, where: str, *options: str, valid: Callable[[Any], bool], rule: str
) -> None:
    """Raise a ValueError that names the option, the rule and the value unless each of `options` is valid."""
    for option in options:
        if not valid(getattr(settings, option)):
            raise ValueError(f"{where}.{option} must be {rule}, not {getattr(settings, option)!r}")


def check_between(option: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError that names the option unless `low <= value <= high`."""
    if not low <= value <= high:
        raise ValueError(f"{option} must be between {low:g} and {high:g}, not {value!r}")
