"""Calibrations: from a request's privacy cost to seconds and expected hashes; one file each."""

from pow.calibration.base import Calibration
from pow.calibration.expectation import LinearExpectation

__all__ = ["Calibration", "LinearExpectation"]
