"""The state of an extraction after a round, on disk."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from extraction.transfer_set import TransferSet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundResult:
    """One point of an extraction: what the substitute is worth after a round.

    accuracy: agreement with the truth; fidelity: agreement with the victim; both on the test images.
    query_time and train_time are measured seconds of this round: of waiting for answers, and of all that the
    attacker computes itself. peak_memory is the most that was in use until then, in bytes (0: not measured).
    """

    round: int
    queries: int
    accuracy: float
    fidelity: float
    query_time: float
    train_time: float
    peak_memory: int = 0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that the next round depends on; random streams derive from the seed and the round's number.

    `blocked` are the accounts that get no further answer.
    """

    rounds: list[RoundResult]
    transfer_set: TransferSet
    substitute: dict[str, Tensor]
    attack: dict[str, Any]
    blocked: list[int] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write under a temporary name, then rename: a kill leaves the old checkpoint or the new one."""
        content = {
            "rounds": [asdict(result) for result in self.rounds],
            "images": self.transfer_set.images,
            "answers": self.transfer_set.answers,
            "substitute": self.substitute,
            "attack": self.attack,
            "blocked": self.blocked,
        }
        temporary = path.with_suffix(".tmp")
        torch.save(content, temporary)
        temporary.replace(path)


def load_checkpoint(path: Path, device: torch.device) -> Checkpoint | None:
    """The checkpoint, or None where there is none or it is damaged (which is said)."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        return Checkpoint(
            [RoundResult(**result) for result in content["rounds"]],
            TransferSet(content["images"], content["answers"]),
            content["substitute"],
            content["attack"],
            content.get("blocked", []),
        )
    except Exception as error:  # damage can make the unpickler raise anything
        log.warning("checkpoint %s is damaged and is not used: %s", path.name, error)
        return None
