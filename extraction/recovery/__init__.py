"""What an attacker makes of answers before it learns from them (`attack.recover`): one file each."""

from extraction.recovery.base import Imagine, Recovery, RecoveryName
from extraction.recovery.bayes import Bayes
from extraction.recovery.denoise import Denoise
from extraction.recovery.none import FirstAnswer

__all__ = ["Bayes", "Denoise", "FirstAnswer", "Imagine", "Recovery", "RecoveryName"]
