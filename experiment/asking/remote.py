"""A victim behind a gate, asked over HTTP and paid with work."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gate.client import Client, Receipt, TooExpensive
from gate.kept import KeptOnRecord
from training.fit import predict_logits
from training.recipe import Hardware
from victims.answers import perturbed
from victims.defenses.base import Perturb
from victims.meter import Meter
from victims.types import Answer, AnswerKind, Oracle, PriceTooHigh, QueryBatch

AGREEMENT = 0.99
"""Share of a request's answers that must name the class of the victim at hand, which meters them."""


class WrongServer(Exception):
    """The server at oracle.url does not serve this config's victim, or not as the attack needs it."""


class RemoteVictim(Oracle):
    """Answers from a server that serves `network`; each account asks by a client of its own.

    The server tells nobody what an answer reveals, so the victim at hand is metered in its place; its
    answers, changed by the same `perturbations`, tell whether the server serves the same victim. Beside
    that, the meter records for each query its share of the request's price: `asked_hashes`, expected by the
    puzzle, `tried_hashes` and `solve_seconds`, measured.

    In the folder `keep` lies the work of the call in progress, until the next call. If it is asked again
    after a kill, nothing is paid twice that the server still remembers. Raises WrongServer where the server
    serves another model or kind of answer, and Refused (see gate.client).
    """

    def __init__(
        self,
        clients: Sequence[Client],
        network: nn.Module,
        meter: Meter,
        hardware: Hardware,
        answers: AnswerKind,
        perturbations: Sequence[Perturb] = (),
        keep: Path | None = None,
    ) -> None:
        self.keep, self._asked_before = keep, False
        self.clients, self.network, self.meter, self.hardware = list(clients), network, meter, hardware
        self.perturbations = perturbations
        self.model = self.clients[0].model()
        if self.model.answers != answers:
            raise WrongServer(
                f"attack.answers={answers}, and the server at {self._url} answers {self.model.answers}"
            )

    def query(self, batch: QueryBatch) -> Answer:
        """The server's answers, request by request."""
        if tuple(batch.images.shape[1:]) != self.model.image_shape:
            raise WrongServer(
                f"oracle.url={self._url} serves images {list(self.model.image_shape)}, and these are "
                f"{list(batch.images.shape[1:])}"
            )
        if self._asked_before and self.keep is not None:
            shutil.rmtree(self.keep, ignore_errors=True)  # the last call's answers are on record
        self._asked_before = True
        parts = batch.images.split(self.model.largest_batch)
        return Answer(
            torch.cat(
                [
                    self._paid(QueryBatch(images, batch.account, batch.round), number)
                    for number, images in enumerate(parts)
                ]
            )
        )

    def _kept(self, account: int, number: int) -> KeptOnRecord | None:
        """Where a call's request of this number keeps its work, so that equal requests are told apart."""
        if self.keep is None:
            return None
        return KeptOnRecord(self.keep / str(number), self._url, str(account))

    def _paid(self, batch: QueryBatch, number: int) -> Tensor:
        client, kept = self.clients[batch.account], self._kept(batch.account, number)
        try:
            receipt = client.request(batch.images.cpu().numpy(), kept)
        except TooExpensive as error:
            raise PriceTooHigh(str(error)) from error
        values = torch.from_numpy(receipt.answer).to(batch.images.device)
        log_probs = predict_logits(self.network, batch.images, self.hardware).log_softmax(1)
        ours = perturbed(self.perturbations, batch.images, log_probs.exp(), batch.first)
        agreeing = (Answer(values).labels == ours.argmax(1)).double().mean()
        if agreeing < AGREEMENT:
            raise WrongServer(
                f"the server at {self._url} serves another model: {100 * float(agreeing):.0f} % of its "
                "answers are this victim's; start it with the same dataset, victim, defense, seed and "
                "paths.store"
            )
        self.meter.record(batch, log_probs, _shares(receipt))
        return values

    @property
    def _url(self) -> str:
        return str(self.clients[0].http.base_url)


def _shares(receipt: Receipt) -> dict[str, np.ndarray]:
    """Each query's share of its request's price."""
    count = len(receipt.answer)
    price = {
        "asked_hashes": receipt.expected_hashes,
        "tried_hashes": receipt.tried_hashes,
        "solve_seconds": receipt.solve_seconds,
    }
    return {name: np.full(count, value / count) for name, value in price.items()}
