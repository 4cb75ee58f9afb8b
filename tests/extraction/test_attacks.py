"""Each attack's rule against a plain loop, and every attack at work on digits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from extraction.attacks import k_center as k_center_module
from extraction.attacks.activethief import ActiveThief
from extraction.attacks.base import Attacker, QueryAttack
from extraction.attacks.deepfool import DeepFool, perturbation_norms
from extraction.attacks.entropy import Entropy
from extraction.attacks.entropyrev import EntropyReversed
from extraction.attacks.gap import Gap
from extraction.attacks.greedy import Greedy
from extraction.attacks.inoutdist import InOutDist
from extraction.attacks.jacobian import label_gradient
from extraction.attacks.jacobian_tr import JacobianTargeted
from extraction.attacks.k_center import features, k_center
from extraction.attacks.knockoff_adaptive import KnockoffAdaptive
from extraction.attacks.maxprivacy import MaxPrivacy
from extraction.attacks.selection import PoolSelection
from extraction.attacks.worstcase import WorstCase
from extraction.extract import Extraction
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transfer_set import TransferSet
from support.extracting import CONF, CPU, TruthOracle, configured, evaluation, network, pool
from training.recipe import Recipe
from victims.types import Answer

ATTACKS = sorted(path.stem for path in (CONF / "attack").glob("[!_]*.yaml"))


def attacker(substitute: nn.Module | None = None, **options: Any) -> Attacker:
    nothing = TransferSet.empty((1, 8, 8), torch.device("cpu"))
    round = options.pop("round", 1)
    return Attacker(pool(), nothing, substitute, round, 3, CPU, 10, **options)


def substitute() -> nn.Module:
    torch.manual_seed(0)
    return network((1, 8, 8), 10)


def numbers(images: Tensor) -> list[int]:
    """Of queries, in the pool (whose images all differ but for a few)."""
    everything = pool().images.flatten(1).float() / 255
    return [int((everything - image.flatten()).abs().sum(1).argmin()) for image in images]


def score(name: str, logits: Tensor) -> float:
    p = [math.exp(z - max(logits.tolist())) for z in logits.tolist()]
    p = sorted((value / sum(p) for value in p), reverse=True)
    if name == "gap":
        return 1 - (p[0] - p[1]) / (p[0] + p[1])
    entropy = -sum(value * math.log(value) for value in p)
    return entropy if name == "entropy" else -entropy


@pytest.mark.parametrize(
    ("name", "attack"), [("entropy", Entropy()), ("entropyrev", EntropyReversed()), ("gap", Gap())]
)
def test_uncertainty_against_a_loop(name: str, attack: PoolSelection) -> None:
    first = numbers(attack.queries(attacker(), 40))
    known = attacker(substitute(), round=2)
    chosen = numbers(attack.queries(known, 30))
    assert not set(chosen) & set(first)
    assert known.substitute is not None
    logits = known.substitute(pool().images.float() / 255).double()
    scores = [score(name, row) for row in logits]
    left = sorted(scores[i] for i in range(500) if i not in first)
    assert sorted(scores[i] for i in chosen) == pytest.approx(left[-30:], rel=1e-5)


def test_a_resumed_selection_goes_on() -> None:
    whole, cut = Entropy(), Entropy()
    first = [attack.queries(attacker(), 20) for attack in (whole, cut)]
    assert torch.equal(*first)
    again = Entropy()
    again.load_state_dict(cut.state_dict())
    known = attacker(substitute(), round=2)
    assert torch.equal(whole.queries(known, 20), again.queries(known, 20))


@pytest.mark.parametrize(("attack", "descending"), [(WorstCase(), False), (MaxPrivacy("pknn"), True)])
def test_who_knows_the_cost_asks_by_it(attack: QueryAttack, descending: bool) -> None:
    def costs(images: Tensor) -> dict[str, Tensor]:
        return {"pknn": images.flatten(1).double().sum(1)}

    knowing = attacker(costs=costs)
    chosen = torch.cat([attack.queries(knowing, 30), attack.queries(knowing, 30)])
    prices = pool().images.flatten(1).double().sum(1).sort(descending=descending).values[:60] / 255
    assert chosen.flatten(1).double().sum(1).tolist() == pytest.approx(prices.tolist(), rel=1e-6)
    with pytest.raises(ValueError, match=r"attack\.knows=\[cost\]"):
        WorstCase().queries(attacker(), 5)
    with pytest.raises(ValueError, match="measure must be one of pknn, not 'pate'"):
        WorstCase("pate").queries(knowing, 5)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 70), st.integers(0, 1000))
def test_k_center_against_a_loop(count: int, known: int, block: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    points, centers = (torch.randn(n, 3, generator=random, dtype=torch.float64) for n in (60, known))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(k_center_module, "BLOCK", block)
        chosen = k_center(points, centers, count).tolist()
    everything, expected = centers, []
    for _ in range(count):
        expected.append(int(torch.cdist(points, everything).amin(1).argmax()))
        everything = torch.cat([everything, points[expected[-1:]]])
    assert chosen == expected


def test_k_center_asks_for_what_there_is() -> None:
    with pytest.raises(ValueError, match="3 of 2 points"):
        k_center(torch.zeros(2, 1), torch.zeros(1, 1), 3)
    with pytest.raises(ValueError, match="around 0 centers"):
        k_center(torch.zeros(2, 1), torch.zeros(0, 1), 1)


@pytest.mark.parametrize("subset", [1, 3])
def test_activethief_spreads_what_lies_near_the_boundary(subset: int) -> None:
    """Against the two published steps, one image after the other."""
    attack = ActiveThief(subset, candidates=None, steps=5)
    asked = numbers(attack.queries(attacker(), 40))
    known = attacker(substitute(), round=2)
    chosen = numbers(attack.queries(known, 20))
    assert known.substitute is not None
    everything = pool().images.float() / 255
    norms = perturbation_norms(known.substitute, everything, 5, 0.02)
    left = [i for i in norms.argsort().tolist() if i not in asked]
    near = left[: subset * 20]
    probabilities = known.substitute(everything).double().softmax(1).detach()
    centers, expected = list(asked), []
    for _ in range(20):
        distances = torch.cdist(probabilities[near], probabilities[centers]).amin(1)
        expected.append(near[int(distances.argmax())])
        centers.append(expected[-1])
        near.remove(expected[-1])
    assert sorted(chosen) == sorted(expected)
    with pytest.raises(ValueError, match=r"attack\.rule\.subset must be a whole number of at least 1, not 0"):
        ActiveThief(subset=0)


def test_features_feed_the_last_layer() -> None:
    net = substitute()
    found = features(net, pool().images[:7], CPU)
    assert isinstance(net, nn.Sequential)
    assert torch.allclose(net[-1](found), net(pool().images[:7].float() / 255))
    assert found.shape == (7, 32)
    convolutional = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    assert features(convolutional, pool().images[:7], CPU).shape == (7, 10)


def test_greedy_spreads_its_queries() -> None:
    attack, random = Greedy(), Gap()
    for each in (attack, random):
        each.queries(attacker(), 20)
    net = substitute()
    spread = features(net, attack.queries(attacker(net, round=2), 50), CPU)
    assert torch.pdist(spread).min() > 0
    plain = features(net, pool().images[:50], CPU)
    assert (
        torch.cdist(spread, spread).topk(2, largest=False).values[:, 1].mean()
        > torch.cdist(plain, plain).topk(2, largest=False).values[:, 1].mean()
    )


def test_deepfool_is_exact_for_a_linear_network() -> None:
    torch.manual_seed(1)
    linear = nn.Linear(64, 5).requires_grad_(False)
    net = nn.Sequential(nn.Flatten(), linear)
    images = torch.rand(20, 1, 8, 8)
    norms = perturbation_norms(net, images, steps=20, overshoot=0.02)
    logits = net(images).detach()
    for i in range(20):
        own = int(logits[i].argmax())
        nearest = min(
            float((logits[i, own] - logits[i, k]) / (linear.weight[own] - linear.weight[k]).norm())
            for k in range(5)
            if k != own
        )
        assert float(norms[i]) == pytest.approx(nearest, rel=1e-3, abs=3e-4)


def test_deepfool_asks_about_the_closest_to_the_boundary() -> None:
    net = substitute()
    everything = DeepFool(candidates=None)
    everything.queries(attacker(), 50)
    chosen = numbers(everything.queries(attacker(net, round=2), 10))
    norms = perturbation_norms(net, pool().images.float() / 255, 20, 0.02)
    first = set(everything.asked[:50].tolist())
    left = sorted(float(norms[i]) for i in range(500) if i not in first)
    assert sorted(float(norms[i]) for i in chosen) == pytest.approx(left[:10], rel=1e-5)
    with pytest.raises(ValueError, match=r"attack\.rule\.steps"):
        DeepFool(steps=0)


def test_in_and_out_by_turns_and_no_image_twice() -> None:
    attack, other = InOutDist(), pool().select(slice(0, 30))
    rounds = [attack.queries(attacker(other_pool=other, round=number), 25) for number in (1, 2, 3, 4, 5)]
    assert [len(images) for images in rounds] == [25, 25, 25, 5, 25]
    assert set(numbers(rounds[1])) | set(numbers(rounds[3])) == set(range(30))
    own = [number for index in (0, 2, 4) for number in numbers(rounds[index])]
    assert len(set(own)) == 75
    assert attack.supply(pool(), other) == 530


@pytest.mark.parametrize("towards", [True, False])
def test_targeted_steps_follow_another_class(towards: bool) -> None:
    attack, net = JacobianTargeted(20, 0.1, towards), substitute()
    images, labels = pool().images[:40].float() / 255, pool().labels[:40]
    known = Attacker(pool(), TransferSet(images, labels), net, 2, 3, CPU, 10)
    others = attack.classes(known, labels)
    assert (others != labels).all() and len(others.unique()) > 5
    made = attack.queries(known, 40)
    order = torch.cdist(made.flatten(1), images.flatten(1)).argmin(1)
    logits = (net(made) - net(images[order])).detach()
    gains = [float(logits[i, attack.classes(known, labels[order])[i]]) for i in range(40)]
    assert (sum(gains) > 0) is towards
    assert label_gradient(net, images, others, CPU).shape == images.shape


def test_the_bandit_against_a_loop() -> None:
    attack = KnockoffAdaptive(batch=5, rewards=("certainty", "diversity"))
    random = torch.Generator().manual_seed(0)
    given_answers: list[Tensor] = []
    preference, taken, total, mean = [0.0] * 10, [0] * 10, 0.0, [0.0] * 10

    def ask(images: Tensor) -> Answer:
        given_answers.append(torch.rand(len(images), 10, generator=random).softmax(1))
        return Answer(given_answers[-1])

    def follow(actions: list[int], answers: Tensor) -> None:
        nonlocal total
        asked = sum(taken)
        # In float32 a softmax sums to 1 only nearly; the attack divides by the sum, too.
        rows = (answers.double() / answers.double().sum(1, keepdim=True)).tolist()
        rewards = []
        for row in rows:
            top = sorted(row, reverse=True)
            others = [m / asked if asked else 0.0 for m in mean]
            diversity = sum(max(0.0, p - m) for p, m in zip(row, others, strict=True))
            rewards.append((top[0] - top[1] + diversity) / 2)
        for action in actions:
            taken[action] += 1
        total += sum(rewards)
        for row in rows:
            for k in range(10):
                mean[k] += row[k]
        exps = [math.exp(h) for h in preference]
        policy = [e / sum(exps) for e in exps]
        for action, reward in zip(actions, rewards, strict=True):
            step = (reward - total / sum(taken)) / taken[action]
            for k in range(10):
                preference[k] += step * ((k == action) - policy[k])

    learn = attack._learn

    def spy(actions: Tensor, reward: Tensor) -> None:
        follow(actions.tolist(), given_answers[-1])
        learn(actions, reward)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attack, "_learn", spy)
        attack.run_round(attacker(), ask, 23)
    assert [len(answers) for answers in given_answers] == [5, 5, 5, 5, 3]
    assert attack.preference.tolist() == pytest.approx(preference, rel=1e-6, abs=1e-9)
    assert attack.taken.tolist() == taken


@pytest.mark.parametrize("begins_with", ["student", "substitute"])
def test_the_loss_is_that_of_a_substitute_that_learned_each_batch(begins_with: str) -> None:
    """Also in the first round; against gradients worked out by hand for a network of one layer."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    weight, bias = (parameter.double() for parameter in before)
    attack = KnockoffAdaptive(batch=4, rewards=("loss",), rate=0.5)
    expected: list[float] = []
    found: list[float] = []
    random = torch.Generator().manual_seed(0)

    def ask(images: Tensor) -> Answer:
        nonlocal weight, bias
        answers = (3 * torch.randn(len(images), 10, generator=random)).softmax(1)
        inputs, targets = images.flatten(1).double(), answers.double()
        said = (inputs @ weight.T + bias).softmax(1)
        expected.extend((1 - (targets * said.log()).sum(1).exp()).tolist())
        error = (said - targets) / len(images)
        weight, bias = weight - 0.5 * error.T @ inputs, bias - 0.5 * error.sum(0)
        return Answer(answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attack, "_learn", lambda actions, reward: found.extend(reward.tolist()))
        attack.run_round(attacker(**{begins_with: net}), ask, 18)
    assert found == pytest.approx(expected, abs=1e-4) and len(found) == 18
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True)), "a copy learns"


def test_the_bandit_prefers_classes_that_pay() -> None:
    """Certain answers for images of class 3 alone; no image is asked about twice, though they run out."""
    attack = KnockoffAdaptive(batch=10, rewards=("certainty",))
    asked: list[int] = []

    def ask(images: Tensor) -> Answer:
        index = numbers(images)
        asked.extend(index)
        sure = (pool().labels[index] == 3)[:, None]
        return Answer(torch.where(sure, torch.eye(10)[3], torch.full((len(index), 10), 0.1)))

    for round in (1, 2, 3):
        attack.run_round(attacker(round=round), ask, 30)
    labels = pool().labels[asked]
    assert attack.policy.argmax() == 3
    assert (labels[-30:] == 3).sum() > (labels[:30] == 3).sum()
    attack.run_round(attacker(round=4), ask, 410)
    assert len(set(asked)) > 490, "all images of the pool, a few of which look alike"
    again = KnockoffAdaptive()
    again.load_state_dict(attack.state_dict())
    assert torch.equal(again.policy, attack.policy)
    with pytest.raises(ValueError, match=r"attack\.rule\.rewards"):
        KnockoffAdaptive(rewards=("money",))
    with pytest.raises(ValueError, match=r"attack\.rule\.rate must be a number above 0, not 0"):
        KnockoffAdaptive(rate=0)


DATA_FREE = ("dfme", "maze", "disguide", "dfms_hl")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "swiftthief" else name
        for name in ATTACKS
        if name not in DATA_FREE
    ],
)
def test_every_attack_counts_its_queries_and_beats_chance(name: str, tmp_path: Path) -> None:
    oracle = TruthOracle()

    def costs(images: Tensor) -> dict[str, Tensor]:
        return {measure: images.flatten(1).double().sum(1) for measure in ("pate", "pknn")}

    run = Extraction(
        configured(name),
        pool(),
        10,
        SubstituteSettings(network, Recipe(epochs=10, batch_size=16, learning_rate=0.1, momentum=0.9)),
        ExtractionSettings(budget=320, round_size=160, answers="hard", seed=5),
        CPU,
        tmp_path / "checkpoint.pt",
        other_pool=pool().select(slice(250, 500)),
        costs=costs,
    )
    run.run(oracle, evaluation())
    assert sum(map(len, oracle.batches)) == run.queries == 320
    assert run.rounds[-1].accuracy > 0.4, "ten classes: chance is 0.1"
