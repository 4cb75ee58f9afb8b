"""From a node of the config to the object it describes."""

from __future__ import annotations

from typing import Any

import hydra.utils
from hydra.errors import InstantiationException


def instantiate(node: Any, option: str) -> Any:
    """Hydra's instantiate, with plain containers, whose error names the option and the cause only."""
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | OSError):
            raise cause from error
        raise ValueError(f"{option}: {cause or error}") from error
