"""Defenses that change answers: each formula against another computation, and what all must keep."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from support.defended import CPU, answers, images, perturbed, small_net, victim
from training.fit import fit, predict_logits
from training.recipe import Recipe
from training.reverse import reverse_cross_entropy
from victims.defenses.adaptive_misinformation import AdaptiveMisinformation
from victims.defenses.base import MisinformerSettings, Perturbation
from victims.defenses.gaussian_noise import GaussianNoise, noise_of_images
from victims.defenses.label_only import LabelOnly
from victims.defenses.mad import Mad
from victims.defenses.modelguard_w import ModelGuardW
from victims.defenses.reverse_sigmoid import ReverseSigmoid
from victims.defenses.rounding import Rounding
from victims.defenses.top_k import TopK

COUNT = 200
KEEP_LABELS = [
    *(TopK(k) for k in (1, 3)),
    LabelOnly(),
    Rounding(10),
    ReverseSigmoid(0.0, 0.2),
    *(ReverseSigmoid(beta, gamma, keep_label=True) for beta, gamma in ((0.8, 0.2), (3.0, 0.5))),
    *(Mad(epsilon, "kept", small_net) for epsilon in (0.0, 0.5, 1.0, 2.0)),
    *(ModelGuardW(epsilon) for epsilon in (0.0, 0.5, 1.0, 2.0)),
]
MOVE = [
    GaussianNoise(0.3, "fixed"),
    GaussianNoise(0.3, "fresh"),
    ReverseSigmoid(0.8, 0.2),
    ReverseSigmoid(3.0, 0.5),
    Mad(1.0, "free", small_net),
]
NORMALISED = [defense for defense in [*KEEP_LABELS, *MOVE] if not isinstance(defense, TopK | Rounding)]


def name(defense: Perturbation) -> str:
    options = {key: value for key, value in vars(defense).items() if not callable(value)}
    return f"{type(defense).__name__} {options}"


@pytest.mark.parametrize("defense", KEEP_LABELS, ids=name)
def test_the_label_stays_the_same(defense: Perturbation) -> None:
    for seed in range(5):
        probabilities = answers(COUNT, seed=seed)
        changed = perturbed(defense, probabilities, images(COUNT))
        assert torch.equal(changed.argmax(1), probabilities.argmax(1))


@pytest.mark.parametrize("defense", NORMALISED, ids=name)
def test_answers_stay_in_the_simplex(defense: Perturbation) -> None:
    changed = perturbed(defense, answers(COUNT), images(COUNT))
    assert changed.dtype == torch.float32 and changed.shape == (COUNT, 10)
    assert float(changed.min()) >= 0
    assert torch.allclose(changed.sum(1), torch.ones(COUNT), atol=2e-6)


@pytest.mark.parametrize("defense", [*KEEP_LABELS, *MOVE], ids=name)
def test_an_answer_depends_on_its_own_image_and_probabilities_alone(defense: Perturbation) -> None:
    if isinstance(defense, GaussianNoise) and defense.noise == "fresh":
        return  # its noise is that of the whole request
    probabilities, asked = answers(COUNT), images(COUNT)
    together = perturbed(defense, probabilities, asked)
    apart = torch.cat([perturbed(defense, probabilities[i::3], asked[i::3]) for i in range(3)])
    order = torch.cat([torch.arange(COUNT)[i::3] for i in range(3)])
    assert torch.allclose(together[order], apart, atol=1e-6)


def test_the_reverse_sigmoid_may_change_labels_below_a_probability() -> None:
    """Where its answer to the label falls below that to 0, by a root finder; and never above."""

    def answer_to(y: float) -> float:
        return y - 0.8 * (1 / (1 + (1 / y - 1) ** 0.2) - 0.5)

    least = brentq(lambda y: answer_to(y) - 0.8 / 2, 0.1, 0.9)
    assert least == pytest.approx(0.381, abs=5e-4), "as the documents say"
    flipped = {}
    for largest in (least - 0.01, least + 0.01):
        rest = (1 - largest) / 2
        worst = torch.tensor([[largest, rest, rest, 0.0]])
        changed = perturbed(ReverseSigmoid(0.8, 0.2), worst, images(1))
        flipped[largest] = int(changed.argmax()) != 0
    assert list(flipped.values()) == [True, False]
    probabilities = torch.cat([answers(COUNT, seed=seed) for seed in range(5)])
    sure = probabilities[probabilities.amax(1) >= least]
    kept = perturbed(ReverseSigmoid(0.8, 0.2), sure, images(len(sure))).argmax(1) == sure.argmax(1)
    assert len(sure) > 100 and kept.all()


def test_a_kept_label_swaps_two_answers_and_no_more() -> None:
    probabilities = torch.tensor([[0.30, 0.29, 0.29, 0.12, 0.0], [0.9, 0.05, 0.05, 0.0, 0.0]])
    free, kept = (
        perturbed(ReverseSigmoid(0.8, 0.2, keep), probabilities, images(2)) for keep in (False, True)
    )
    assert free[0].argmax() == 4 and kept[0].argmax() == 0
    assert torch.allclose(kept[0], free[0][[4, 1, 2, 3, 0]], atol=1e-6)
    assert torch.equal(kept[1], free[1])


def test_no_budget_changes_nothing() -> None:
    probabilities = answers(COUNT)
    defenses: list[Perturbation] = [
        Mad(0.0, "kept", small_net),
        Mad(0.0, "free", small_net),
        ModelGuardW(0.0),
    ]
    for defense in defenses:
        assert torch.equal(perturbed(defense, probabilities, images(COUNT)), probabilities)
    neutral: list[Perturbation] = [
        GaussianNoise(0.0, "fixed"),
        ReverseSigmoid(0.0, 1.0),
        Rounding(10),
        TopK(10),
    ]
    for defense in neutral:
        changed = perturbed(defense, probabilities, images(COUNT))
        assert torch.allclose(changed, probabilities, atol=1e-6, rtol=0)


def test_rounding_and_the_largest_against_numpy() -> None:
    probabilities = answers(50)
    expected = np.round(probabilities.double().numpy(), 2)
    assert np.allclose(perturbed(Rounding(2), probabilities, images(50)).numpy(), expected, atol=1e-7)
    kept = perturbed(TopK(3), probabilities, images(50)).numpy()
    for row, own in zip(kept, probabilities.numpy(), strict=True):
        largest = np.sort(own)[-3:]
        assert np.array_equal(np.sort(row), np.concatenate([np.zeros(7), largest]).astype(np.float32))
    assert torch.equal(perturbed(TopK(99), probabilities, images(50)), probabilities)


def test_reverse_sigmoid_against_mpmath() -> None:
    probabilities = answers(30)[:20, :4]  # none of them one, of which the logit is infinite
    changed = perturbed(ReverseSigmoid(0.7, 0.3), probabilities, images(20))
    for row, own in zip(changed.tolist(), probabilities.tolist(), strict=True):
        moved = []
        for y in own:
            logit = mpmath.log(mpmath.mpf(y) / (1 - mpmath.mpf(y)))
            moved.append(y - mpmath.mpf("0.7") * (1 / (1 + mpmath.exp(-mpmath.mpf("0.3") * logit)) - 0.5))
        assert row == pytest.approx([float(value / sum(moved)) for value in moved], abs=1e-6)


def test_several_answers_have_the_same_reversed_sigmoid() -> None:
    first = torch.linspace(0.5, 0.999999, 4000)
    changed = perturbed(ReverseSigmoid(0.8, 0.2), torch.stack([first, 1 - first], 1), images(4000))[:, 0]
    differences = changed.diff()
    assert (differences > 0).any() and (differences < 0).any(), "it rises and falls"


def splitmix64(state: int) -> int:
    mask = 2**64 - 1
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
    return state ^ (state >> 31)


def test_noise_of_images_is_normal_secret_and_splitmix64s() -> None:
    from victims.defenses import gaussian_noise

    numbers = [0, 1, 2**63 - 1, -1, -(2**63), 123456789123456789]
    mixed = gaussian_noise._mixed(torch.tensor(numbers)).tolist()
    assert [value % 2**64 for value in mixed] == [splitmix64(number % 2**64) for number in numbers]
    asked = images(3000)
    asked[1::2] = asked[::2]
    asked[1::2, 0, 3, 3] += 2**-20  # no two are alike, some nearly
    noise = noise_of_images(asked, 8, seed=1)
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02
    assert np.abs(np.corrcoef(noise.T.numpy()) - np.eye(8)).max() < 0.08
    assert abs(np.corrcoef(noise[::2].flatten(), noise[1::2].flatten())[0, 1]) < 0.03
    assert not torch.allclose(noise_of_images(asked, 8, seed=2), noise)


def test_fixed_noise_repeats_itself_and_fresh_noise_does_not() -> None:
    probabilities, asked = answers(20), images(20)
    for noise, same in (("fixed", True), ("fresh", False)):
        defense = GaussianNoise(0.2, noise)  # type: ignore[arg-type]
        first, later = (perturbed(defense, probabilities, asked, number) for number in (0, 20))
        assert torch.equal(first, later) == same == defense.repeats_itself
        assert torch.equal(first, perturbed(defense, probabilities, asked, 0)), "a resumed run finds it again"


def test_noise_is_added_cut_and_normalised() -> None:
    probabilities, asked = answers(40), images(40)
    changed = perturbed(GaussianNoise(0.1, "fixed"), probabilities, asked)
    noise = noise_of_images(asked, 10, victim().seed).numpy()
    for row, own, added in zip(changed.numpy(), probabilities.double().numpy(), noise, strict=True):
        cut = np.maximum(own + 0.1 * added, 0)
        assert row == pytest.approx(cut / cut.sum(), abs=1e-6)


def test_reverse_cross_entropy_against_a_loop_and_its_network_is_wrong() -> None:
    logits, labels = 5 * torch.randn(30, 4, dtype=torch.float64), torch.randint(0, 4, (30,))
    own = logits.softmax(1)[torch.arange(30), labels]
    assert float(reverse_cross_entropy(logits, labels)) == pytest.approx(float(-(1 - own).log().mean()))
    train, network = victim().train, small_net((1, 8, 8), 10)
    recipe = Recipe(epochs=30, batch_size=32, learning_rate=0.1, momentum=0.9)
    fit(network, train.images, train.labels, recipe, CPU, seed=0, loss=reverse_cross_entropy)
    probabilities = predict_logits(network, train.images, CPU).softmax(1)
    assert float(probabilities.gather(1, train.labels[:, None]).mean()) < 0.03


def test_adaptive_misinformation_against_a_loop() -> None:
    misinformer = small_net((1, 8, 8), 10)
    settings = MisinformerSettings(small_net, Recipe(), 0)
    defense = AdaptiveMisinformation(threshold=0.6, steepness=20, misinformer=settings)
    probabilities, asked = answers(40), images(40)
    changed = defense.bind(victim(network=misinformer))(asked, probabilities, 0)
    for i in range(40):
        y, wrong = probabilities[i], misinformer(asked[i : i + 1]).softmax(1)[0].detach()
        alpha = 1 / (1 + np.exp(20 * (float(y.max()) - 0.6)))
        assert torch.allclose(changed[i], ((1 - alpha) * y + alpha * wrong).float(), atol=1e-6)
    sure = answers(40).amax(1) > 0.99
    assert torch.allclose(changed[sure], probabilities[sure], atol=1e-3)
