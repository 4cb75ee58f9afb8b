"""Answers that are kept to learn from again: the experience replay of data-free attacks."""

from __future__ import annotations

import torch
from torch import Tensor


class Replay:
    """Images and their answers, all of them or the newest.

    They lie in main memory, images in half precision: 1.6 KB an image of MNIST, 6.1 KB one of CIFAR-10.

    Args:
        limit: Answers that are kept, the newest; None for all.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.seen = 0
        self.images, self.answers = torch.zeros(0), torch.zeros(0)

    def __len__(self) -> int:
        return self.seen if self.limit is None else min(self.seen, self.limit)

    def add(self, images: Tensor, answers: Tensor) -> None:
        """Keep images in [0, 1] `[n, c, h, w]` with their answers `[n, classes]`."""
        images, answers = images.half().cpu(), answers.cpu()
        places = torch.arange(self.seen, self.seen + len(images))
        self.seen += len(images)
        if self.limit is not None:
            images, answers = images[-self.limit :], answers[-self.limit :]
            places = places[-self.limit :] % self.limit
        needed = int(places.max()) + 1
        self.images, self.answers = (
            enlarged(self.images, images, needed),
            enlarged(self.answers, answers, needed),
        )
        self.images[places], self.answers[places] = images, answers

    def draw(self, count: int, random: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw `count` images float32 with their answers, each of those kept as likely, on `device`."""
        index = torch.randint(len(self), (count,), generator=random)
        return self.images[index].float().to(device), self.answers[index].to(device)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return what is kept, for the checkpoint."""
        kept = len(self)
        return {
            "seen": self.seen,
            "images": self.images[:kept].clone(),
            "answers": self.answers[:kept].clone(),
        }

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Restore what `state_dict` returned."""
        images, answers = state["images"], state["answers"]
        assert isinstance(images, Tensor) and isinstance(answers, Tensor)
        self.seen, self.images, self.answers = int(state["seen"]), images.cpu(), answers.cpu()


def enlarged(kept: Tensor, new: Tensor, needed: int) -> Tensor:
    """`kept` with room for `needed` rows like those of `new`; doubled, so that all copies are cheap."""
    if needed <= len(kept):
        return kept
    larger = new.new_zeros(max(needed, 2 * len(kept)), *new.shape[1:])
    larger[: len(kept)] = kept if len(kept) else new[:0]
    return larger
