"""Recoveries (`attack.recover`): they estimate the victim's own answers from defended ones; a file each."""

from extraction.recovery.base import Imagine, Recovery, RecoveryName
from extraction.recovery.bayes import Bayes
from extraction.recovery.ddae import Ddae
from extraction.recovery.denoise import Denoise
from extraction.recovery.none import FirstAnswer

__all__ = ["Bayes", "Ddae", "Denoise", "FirstAnswer", "Imagine", "Recovery", "RecoveryName"]
