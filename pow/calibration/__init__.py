"""Calibrations turn what an account reveals into seconds and expected hashes; one file each."""

from pow.calibration.base import REQUEST_QUERIES, Calibration, LineCalibration, NotFitted
from pow.calibration.expectation import LinearExpectation

__all__ = ["REQUEST_QUERIES", "Calibration", "LineCalibration", "LinearExpectation", "NotFitted"]
