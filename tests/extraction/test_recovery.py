"""Attackers who answer back: repeated queries, averages, and the mean given the answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from extraction.attacks.standard import Standard
from extraction.extract import Evaluation, Extraction
from extraction.recovery import Bayes, Ddae, Denoise, FirstAnswer
from extraction.recovery.bayes import prior
from extraction.recovery.ddae import l1_loss, nearest_of_first
from extraction.recovery.denoise import onto_simplex
from extraction.settings import ExtractionSettings, SubstituteSettings
from training.recipe import Hardware, Recipe
from victims.datasets import digits
from victims.types import AccountBlocked, Answer, BudgetExhausted, QueryBatch

CPU = Hardware(accelerator="cpu", precision="32-true", channels_last=False)


def network(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


def test_projections_are_the_nearest_points_of_the_simplex() -> None:
    values = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).double()
    values[0] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    projected = onto_simplex(values)
    assert torch.allclose(projected[0], values[0])
    for row, point in zip(values.numpy(), projected.numpy(), strict=True):
        found = minimize(
            lambda x, row=row: ((x - row) ** 2).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        assert point == pytest.approx(found.x, abs=1e-5)


def test_averages_come_closer_to_what_fresh_noise_hides() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.7, 0.2, 0.1]).repeat(50, 1)
    noisy = truth.repeat_interleave(64, 0) + 0.2 * torch.randn(50 * 64, 3, generator=random)
    once = (Denoise()(Answer(noisy[::64]), 1).values - truth).norm(dim=1).mean()
    often = Denoise()(Answer(noisy), 64).values
    assert (often - truth).norm(dim=1).mean() < once / 5
    assert torch.allclose(often.sum(1), torch.ones(50)) and float(often.min()) >= 0
    assert torch.equal(FirstAnswer()(Answer(noisy), 64).values, noisy[::64])


def test_the_prior_knows_no_class_and_goes_from_sure_to_any() -> None:
    drawn = prior(4000, 10, seed=1)
    assert torch.allclose(drawn.sum(1), torch.ones(4000), atol=1e-5)
    assert torch.allclose(drawn.mean(0), torch.full((10,), 0.1), atol=0.02)
    largest = drawn.amax(1)
    assert (largest > 0.99).double().mean() > 0.1 and (largest < 0.5).double().mean() > 0.1
    assert torch.equal(drawn, prior(4000, 10, seed=1))


def label_kept(images: Tensor, probabilities: Tensor, first: int) -> Answer:
    return Answer(nn.functional.one_hot(probabilities.argmax(1), probabilities.shape[1]).float())


def swapped(images: Tensor, probabilities: Tensor, first: int) -> Answer:
    """Wrong about the label, and so easily undone."""
    return Answer(probabilities.roll(1, 1))


def test_bayes_gives_the_mean_of_the_prior_given_the_answer() -> None:
    """Of a label alone, that is the mean of the draws with this label; by symmetry all others are alike."""
    pool = digits.load((8, 8))["train"].select(slice(0, 50))
    drawn = prior(40_000, 3, seed=9)
    expected = drawn[drawn.argmax(1) == 1].mean(0)
    told = Bayes(label_kept, pool, 3, CPU, seed=0, samples=5000)(Answer(torch.eye(3)), 1).values
    assert torch.allclose(told[1], expected, atol=0.03)
    answers = drawn[:500].roll(1, 1)
    undone = Bayes(swapped, pool, 3, CPU, seed=0, samples=5000)(Answer(answers), 1).values
    assert float((undone - drawn[:500]).abs().mean()) < 0.02
    again = Bayes(swapped, pool, 3, CPU, seed=0, samples=5000)(Answer(answers), 1).values
    assert torch.equal(undone, again), "a resumed attacker has the same answers"


class Noisy:
    """Answers with noise drawn anew, within a budget; blocks an account after so many queries of its own."""

    def __init__(self, budget: int, blocked_after: dict[int, int] | None = None) -> None:
        self.budget, self.blocked_after = budget, blocked_after or {}
        self.batches: list[QueryBatch] = []
        self.answered: Counter[int] = Counter()

    def query(self, batch: QueryBatch) -> Answer:
        if sum(self.answered.values()) + len(batch) > self.budget:
            raise BudgetExhausted(self.budget, 0)
        left = self.blocked_after.get(batch.account, 10_000) - self.answered[batch.account]
        if left <= 0:
            raise AccountBlocked(batch.account, None)
        self.batches.append(batch)
        values = torch.rand(len(batch), 10)[:left]
        self.answered[batch.account] += len(values)
        if left < len(batch):
            raise AccountBlocked(batch.account, Answer(values))
        return Answer(values)


def extraction(path: Path, **options: object) -> Extraction:
    settings = ExtractionSettings(**{"budget": 120, "round_size": 40, "seed": 5, **options})  # type: ignore[arg-type]
    substitute = SubstituteSettings(network, Recipe(epochs=1))
    pool = digits.load((8, 8))["train"].select(slice(0, 300))
    return Extraction(Standard(), pool, 10, substitute, settings, CPU, path / "checkpoint.pt")


def evaluation() -> Evaluation:
    part = digits.load((8, 8))["train"].select(slice(500, 600))
    return Evaluation(part.images, part.labels, part.labels)


def test_each_repetition_is_a_query_in_a_row(tmp_path: Path) -> None:
    oracle, run = Noisy(120), extraction(tmp_path, repeats=3, recover="denoise", accounts=2)
    run.run(oracle, evaluation())
    assert [result.queries for result in run.rounds] == [39, 78, 117, 120]
    asked = torch.cat([batch.images for batch in oracle.batches])
    assert len(asked) == 120 and len(run.transfer_set) == 40
    assert torch.equal(asked[::3], asked[1::3]) and torch.equal(asked[::3], asked[2::3])
    assert torch.equal(asked[::3], run.transfer_set.images)
    assert torch.allclose(run.transfer_set.answers.sum(1), torch.ones(40))
    assert len(run.transfer_set.images.unique(dim=0)) == 40
    assert {batch.account for batch in oracle.batches} == {0, 1}


def test_where_an_account_is_blocked_the_others_go_on_until_none_is_left(tmp_path: Path) -> None:
    oracle = Noisy(120, blocked_after={0: 10, 1: 70})
    run = extraction(tmp_path, accounts=2)
    run.run(oracle, evaluation())
    assert [result.queries for result in run.rounds] == [30, 70, 80]
    assert oracle.answered == {0: 10, 1: 70} and run.active_accounts == []
    assert len(run.transfer_set) == 80
    resumed = extraction(tmp_path, accounts=2)
    assert resumed.active_accounts == []
    resumed.run(Noisy(120), evaluation())
    assert len(resumed.rounds) == 3, "the curve ends where the last account was blocked"


def test_answers_that_an_image_did_not_all_get_are_charged_and_not_used(tmp_path: Path) -> None:
    oracle = Noisy(120, blocked_after={0: 10})
    run = extraction(tmp_path, repeats=4)
    run.run(oracle, evaluation())
    assert run.queries == 10 and len(run.transfer_set) == 2


def test_ddae_undoes_what_it_knows_by_what_shadow_models_say() -> None:
    pool = digits.load((8, 8))["train"].select(slice(0, 400))
    ddae = Ddae(swapped, pool, 3, CPU, 0, network)
    told = [(images, said) for images, said in ddae.examples()]
    assert sum(len(images) for images, _ in told) == 4 * 400 and all(len(it) == len(own) for it, own in told)
    said = torch.cat([own for _, own in told])
    assert torch.allclose(said.sum(1), torch.ones(len(said)), atol=1e-5)
    assert (torch.bincount(said.argmax(1), minlength=3) > 100).all(), "each class is answered"
    undone = ddae(Answer(said.roll(1, 1)), 1).values
    assert float((undone - said).abs().mean()) < 0.05 < float((said.roll(1, 1) - said).abs().mean())
    again = Ddae(swapped, pool, 3, CPU, 0, network)(Answer(said.roll(1, 1)), 1).values
    assert torch.equal(undone, again), "a resumed attacker has the same answers"


def test_the_task_of_a_shadow_model_and_its_loss() -> None:
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for image, label in zip(images, nearest_of_first(images, 5), strict=True):
        assert label == np.argmin([float((image - images[k]).norm()) for k in range(5)])
    logits, wanted = torch.randn(4, 3), torch.randn(4, 3).softmax(1)
    rows = zip(logits.softmax(1), wanted, strict=True)
    expected = np.mean([sum(abs(float(p) - float(q)) for p, q in zip(*row, strict=True)) for row in rows])
    assert float(l1_loss(logits, wanted)) == pytest.approx(expected, rel=1e-5)
