"""Calibrations turn a request's privacy cost into seconds and expected hashes; one file each."""

from pow.calibration.base import REQUEST_QUERIES, Calibration
from pow.calibration.expectation import LinearExpectation

__all__ = ["REQUEST_QUERIES", "Calibration", "LinearExpectation"]
