"""Calibrations: from a request's privacy cost to seconds and expected hashes; one file each."""

from pow.calibration.base import REQUEST_QUERIES, Calibration
from pow.calibration.expectation import LinearExpectation

__all__ = ["REQUEST_QUERIES", "Calibration", "LinearExpectation"]
