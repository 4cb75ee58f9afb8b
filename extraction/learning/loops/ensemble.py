"""The loop of DisGUIDE (see extraction.learning.ensemble)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from extraction.learning.data_free import squash
from extraction.learning.ensemble import Ensemble, clone_loss, generator_loss
from extraction.learning.loops.data_free import DataFree


class EnsembleLoop(DataFree):
    """The loop of DataFree with an Ensemble for its student."""

    @property
    def _ensemble(self) -> Ensemble:
        return cast(Ensemble, self.student)

    def _images(self, raw: Tensor) -> Tensor:
        images = squash(raw)
        if not self._ensemble.grey:
            return images
        is_grey = torch.arange(len(images), device=images.device) % self._ensemble.grey == 0
        return torch.where(is_grey[:, None, None, None], images.mean(1, keepdim=True), images)

    def _generator_step(self, count: int) -> None:
        """Raise the disagreement of the clones, which are not asked to learn from it."""
        self.generator.train()
        self._ensemble.eval()
        _, optimizer = self._optimizers()
        optimizer.zero_grad()
        images = self._images(self.generator(self._latent(count)))
        self.manual_backward(generator_loss(self._ensemble(images).float(), self._ensemble.diversity))
        optimizer.step()
        self.generator.eval()

    def _train_student(self, images: Tensor, answers: Tensor) -> None:
        self._ensemble.train()
        optimizer, _ = self._optimizers()
        optimizer.zero_grad()
        logits: Any = self._ensemble(images).float()
        losses = [clone_loss(own, answers, self.recipe.disagreement) for own in logits]
        self.manual_backward(torch.stack(losses).sum())
        optimizer.step()
