"""The state of an extraction after a round, on disk."""

from __future__ import annotations

import base64
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extraction.transfer_set import TransferSet
from storage.files import write_tensors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundResult:
    """What one round of an extraction cost, and how good the substitute is after it.

    Attributes:
        round: Number of the round, from 1.
        queries: Queries asked since the start of the extraction.
        accuracy: Share of the test images on which the substitute agrees with the truth.
        fidelity: Share of the test images on which the substitute agrees with the victim.
        query_time: Measured seconds that this round waited for answers.
        train_time: Measured seconds that the attacker computed in this round (choosing, training).
        peak_memory: Most memory in use so far, in bytes; 0 where it was not measured.
        right: On which test images the substitute agrees with the truth (see `packed`).
        agrees: On which it agrees with the victim.
    """

    round: int
    queries: int
    accuracy: float
    fidelity: float
    query_time: float
    train_time: float
    peak_memory: int = 0
    right: str = ""
    agrees: str = ""


def packed(hits: Tensor) -> str:
    """Bool `[n]` as text: eight to a byte, the first in the highest bit, in base64."""
    return base64.b64encode(np.packbits(hits.cpu().numpy()).tobytes()).decode()


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that the next round depends on.

    No random state is kept, since each random stream derives from the seed and the round's number.

    Attributes:
        rounds: Results of the finished rounds.
        transfer_set: Images asked so far, with their answers.
        substitute: State dict of the substitute.
        attack: What the attack remembers (see `Attack.state_dict`).
        blocked: Accounts that get no further answer.
    """

    rounds: list[RoundResult]
    transfer_set: TransferSet
    substitute: dict[str, Tensor]
    attack: dict[str, Any]
    blocked: list[int] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the checkpoint under a temporary name, then rename it, so that a kill leaves it intact."""
        content = {
            "rounds": [asdict(result) for result in self.rounds],
            "images": self.transfer_set.images,
            "answers": self.transfer_set.answers,
            "substitute": self.substitute,
            "attack": self.attack,
            "blocked": self.blocked,
        }
        temporary = path.with_suffix(".tmp")
        write_tensors(temporary, content)
        temporary.replace(path)


def load_checkpoint(path: Path, device: torch.device) -> Checkpoint | None:
    """Return the checkpoint at `path` on `device`; None if it is missing, or damaged (a warning says so)."""
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
