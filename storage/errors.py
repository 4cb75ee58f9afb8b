"""The error that says what is wrong with somebody's input."""

from __future__ import annotations

from hydra.errors import CompactHydraException


class InputError(CompactHydraException):
    """Something in the configuration, the data or the output folder is not as it must be.

    Its message is one sentence, which the command line shows without a traceback.
    """
