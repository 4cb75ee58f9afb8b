"""Gains say what a query adds to what its account has gained; one file each, and they add up."""

from pow.gains.base import Gain, Gains

__all__ = ["Gain", "Gains"]
