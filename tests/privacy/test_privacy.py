"""Privacy costs against many-digit arithmetic, plain loops and the paper authors' figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.privacy_exactness import Case, errors
from privacy import gnmax, pknn, uncertainty
from privacy.accountant import Accounting
from support.devices import DEVICES
from support.missing import shared_file

ORDERS = torch.tensor([2.0, 2.5, 7.0, 52.0, 99.5, 333.0, 1000.0], dtype=torch.float64)


HISTOGRAMS = [
    [50, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [10_000, 0],
    [5, 5, 5],
    [1, 0],
    [250 - 40, 20, 20] + [0] * 7,
    [130, 120],
    [100] + [1] * 999,
    [30, 29, 1, 0, 0],
    [300, 0, 0, 0],
]


@pytest.mark.parametrize("sigma", [0.5, 2.0, 10.0, 28.0, 100.0])
@pytest.mark.parametrize("votes", HISTOGRAMS, ids=lambda votes: f"{len(votes)} classes, {votes[0]} first")
def test_log_q_rdp_and_epsilon_are_exact(votes: list[int], sigma: float) -> None:
    assert max(errors(Case(votes, sigma), ORDERS).values()) < 1e-9


@pytest.mark.parametrize("device", DEVICES)
def test_reference_figures(device: str) -> None:
    content = json.loads(shared_file("reference/privacy_examples.json").read_text())
    orders = torch.tensor(content["orders_at"], dtype=torch.float64)
    for example in content["examples"]:
        votes = torch.tensor([example["votes"]], device=device)
        log_q = gnmax.log_q(votes, example["sigma"])
        assert float(log_q) == pytest.approx(example["log_q"], rel=1e-9)
        rdp = gnmax.rdp(log_q, example["sigma"], orders)[0].tolist()
        assert rdp == pytest.approx(example["rdp"], rel=1e-9, abs=1e-300)
        epsilon = gnmax.query_epsilon(votes, example["sigma"], example["delta"])
        assert float(epsilon) == pytest.approx(example["eps_pate"], rel=1e-9)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 300), min_size=4, max_size=4), min_size=1, max_size=8), st.randoms())
def test_costs_are_finite_and_do_not_depend_on_the_classes_order(
    votes: list[list[int]], random: object
) -> None:
    histogram = torch.tensor(votes)
    cost = gnmax.query_epsilon(histogram, 5.0, 1e-5)
    assert torch.isfinite(cost).all() and (cost > 0).all()
    order = list(range(4))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert torch.allclose(gnmax.query_epsilon(histogram[:, order], 5.0, 1e-5), cost, rtol=1e-12)


def test_consensus_is_cheaper_than_doubt() -> None:
    votes = torch.tensor([[250 - k, k, 0] for k in range(126)])
    cost = gnmax.query_epsilon(votes, 10.0, 1e-5)
    assert (cost.diff() >= -1e-12).all()
    assert float(cost[0]) < 0.5 * float(cost[-1])


def test_blocks_do_not_change_costs() -> None:
    votes = torch.randint(0, 100, (gnmax.BLOCK["cpu"] + 3, 10), generator=torch.Generator().manual_seed(0))
    whole = gnmax.query_epsilon(votes, 10.0, 1e-5)
    assert len(whole) == len(votes)
    assert torch.equal(whole[-5:], gnmax.query_epsilon(votes[-5:], 10.0, 1e-5))


@pytest.mark.parametrize("device", DEVICES)
def test_accounting_against_a_loop(device: str) -> None:
    votes = torch.randint(0, 60, (40, 10), generator=torch.Generator().manual_seed(0))
    log_q = gnmax.log_q(votes, 10.0)
    summed = Accounting(10.0, 1e-5, "summed").cumulative(log_q.to(device)).cpu()
    composed = Accounting(10.0, 1e-5, "composed").cumulative(log_q.to(device)).cpu()
    total, running = 0.0, torch.zeros_like(gnmax.ORDERS)
    for i in range(len(votes)):
        total += float(gnmax.query_epsilon(votes[i : i + 1], 10.0, 1e-5))
        running = running + gnmax.rdp(log_q[i : i + 1], 10.0, gnmax.ORDERS)[0]
        assert float(summed[i]) == pytest.approx(total, rel=1e-12)
        assert float(composed[i]) == pytest.approx(
            min((running - math.log(1e-5) / (gnmax.ORDERS - 1)).tolist()), rel=1e-12
        )
    assert (composed <= summed + 1e-12).all()


def test_hundred_unanimous_answers_of_three_hundred_votes() -> None:
    log_q = gnmax.log_q(torch.tensor([[300] + [0] * 9] * 100), 28.0)
    assert float(Accounting(28.0, 1e-5, "summed").cumulative(log_q)[-1]) == pytest.approx(16.1, abs=0.05)
    assert float(Accounting(28.0, 1e-5, "composed").cumulative(log_q)[-1]) == pytest.approx(0.19, abs=0.005)


@pytest.mark.parametrize("device", DEVICES)
def test_neighbour_votes_against_a_loop(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    random = np.random.default_rng(0)
    train, query = random.normal(size=(60, 5)) * 20 - 50, random.normal(size=(23, 5)) * 20 - 50
    labels = random.integers(0, 4, 60)
    expected = np.zeros((23, 4))
    for i in range(23):
        distances = [sum((query[i, d] - train[j, d]) ** 2 for d in range(5)) for j in range(60)]
        for j in np.argsort(distances)[:7]:
            expected[i, labels[j]] += 1
    for block in (60, 60 * 10, 2**24):
        monkeypatch.setattr(pknn, "BLOCK_ENTRIES", {device: block})
        votes = pknn.neighbour_votes(train, labels, torch.as_tensor(query, device=device), 7, 4).cpu()
        assert votes.dtype == torch.float64
        assert np.array_equal(votes.numpy(), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_entropy_and_gap_against_a_loop_and_at_their_ends(device: str) -> None:
    probs = torch.rand(20, 6, generator=torch.Generator().manual_seed(0)).double().softmax(1).to(device)
    for row, entropy, gap in zip(
        probs.tolist(), uncertainty.entropy(probs), uncertainty.gap(probs), strict=True
    ):
        assert float(entropy) == pytest.approx(-sum(p * math.log(p) for p in row) / math.log(6), rel=1e-12)
        first, second = sorted(row, reverse=True)[:2]
        top = math.exp(math.log(first)) / (math.exp(math.log(first)) + math.exp(math.log(second)))
        assert float(gap) == pytest.approx(1 - (top - (1 - top)), rel=1e-12)
    ends = torch.tensor([[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert uncertainty.entropy(ends).tolist() == pytest.approx([0.0, 1.0])
    assert uncertainty.gap(ends).tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gnmax.log_q(torch.ones(1, 3), 0.0), "sigma"),
        (lambda: gnmax.log_q(torch.ones(3), 1.0), "votes"),
        (lambda: gnmax.query_epsilon(torch.ones(1, 3), 1.0, 1.5), "delta"),
        (lambda: Accounting(1.0, 0.1, "averaged").cumulative(torch.zeros(3)), "summed, composed"),  # type: ignore[arg-type]
        (
            lambda: pknn.neighbour_votes(torch.ones(3, 2), torch.zeros(3), torch.ones(1, 2), 4, 2),
            "between 1 and",
        ),
        (
            lambda: pknn.neighbour_votes(torch.ones(3, 2), torch.full((3,), 2), torch.ones(1, 2), 2, 2),
            "labels",
        ),
        (lambda: uncertainty.gap(torch.ones(3)), "probs"),
    ],
)
def test_wrong_arguments_are_refused(call: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()  # type: ignore[operator]
