"""Networks of one's own: what they answer, their weights, and what is said where something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from storage.errors import InputError
from storage.files import write_json
from training.divergence import Diverged, check_trained
from training.fit import fit, predict_logits
from training.recipe import Hardware, Recipe
from training.seeds import seeded
from victims.architectures.build import Normalized, build_network
from victims.datasets.images import ImageSet
from victims.victim import VictimSettings, build_victim, load_weights, make_victim

CPU = Hardware("cpu")
Weights = dict[str, Tensor]

SHAPE = (1, 4, 4)


def network(*last: nn.Module) -> nn.Module:
    """A linear network of three classes, with further layers at its end."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), *last)


class NotFinite(nn.Module):
    """Answers NaN for one class."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits / torch.tensor([1.0, 1.0, 0.0]) * torch.tensor([1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (nn.Softmax(1), "answers probabilities, but logits are needed"),
        (nn.Softmin(1), "answers probabilities, but logits are needed"),
        (NotFinite(), "answers NaN or infinity"),
    ],
)
def test_what_answers_no_logits_is_refused(last: nn.Module, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_network(lambda: network(last), SHAPE, 3)


@pytest.mark.parametrize("last", [nn.Identity(), nn.LogSoftmax(1), nn.Sigmoid(), nn.ReLU()])
def test_all_else_is_taken(last: nn.Module) -> None:
    build_network(lambda: network(last), SHAPE, 3)


def images(count: int = 12) -> ImageSet:
    """Random images of three classes."""
    pixels = torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(0))
    return ImageSet.decoded(pixels.to(torch.uint8), torch.arange(count) % 3, ("a", "b", "c"))


def own_weights() -> Weights:
    with seeded(7, "own"):
        return network().state_dict()


def named(prefix: str) -> Callable[[Weights], Any]:
    return lambda weights: {prefix + name: values for name, values in weights.items()}


def of_lightning(weights: Weights) -> dict[str, Any]:
    """A checkpoint of a module with a loss that has weights of its own."""
    inside = {f"model.{name}": values for name, values in weights.items()}
    return {"epoch": 3, "state_dict": inside | {"loss.weight": torch.ones(3)}, "lr": 0.1}


@pytest.mark.parametrize(
    "kept",
    [
        dict,
        named("module."),
        named("_orig_mod."),
        named("_orig_mod.module."),
        of_lightning,
        lambda weights: {"model_state_dict": weights, "epoch": 3},
        lambda weights: {"model": named("module.")(weights), "optimizer": {"lr": 0.1}},
    ],
)
@pytest.mark.parametrize("normalize", [None, True, False])
def test_a_checkpoint_is_served_as_it_was_trained(
    kept: Callable[[Weights], Any], normalize: bool | None, tmp_path: Path
) -> None:
    torch.save(kept(own_weights()), tmp_path / "own.pt")
    settings = VictimSettings(network, Recipe(), 0, normalize, str(tmp_path / "own.pt"))
    made = make_victim(settings, images(), CPU)
    assert isinstance(made, Normalized) == (normalize is True)
    inner = made.network if isinstance(made, Normalized) else made
    assert torch.equal(inner[1].weight, own_weights()["1.weight"])  # type: ignore[index]


def test_a_checkpoint_of_ours_keeps_its_normalisation(tmp_path: Path) -> None:
    trained = build_victim(VictimSettings(network, Recipe(), 0), images())
    assert isinstance(trained, Normalized)
    trained.mean += 0.25
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    loaded = make_victim(
        VictimSettings(network, Recipe(), 1, None, str(tmp_path / "weights.pt")), images(), CPU
    )
    asked = images().images
    torch.testing.assert_close(predict_logits(loaded, asked, CPU), predict_logits(trained, asked, CPU))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"other": torch.zeros(1)}, r"it lacks: 1\.bias, 1\.weight; it has besides: other"),
        ({"1.weight": torch.zeros(4, 16), "1.bias": torch.zeros(3)}, r"1\.weight \(4, 16\) for \(3, 16\)"),
        ({"1.weight": torch.full((3, 16), torch.nan), "1.bias": torch.zeros(3)}, "1.weight holds NaN"),
        ({"epoch": 3}, "holds no state dict but a dict"),
        ([1, 2], "holds no state dict but a list"),
        ({}, "holds no state dict"),
    ],
)
@pytest.mark.parametrize("normalize", [None, True])
def test_a_checkpoint_that_does_not_fit_is_named(
    content: object, said: str, normalize: bool | None, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "own.pt")
    settings = VictimSettings(network, Recipe(), 0, normalize, str(tmp_path / "own.pt"))
    with pytest.raises(ValueError, match=rf"victim\.checkpoint=.*{said}"):
        make_victim(settings, images(), CPU)


def test_a_file_without_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"victim\.checkpoint=.*is no file of weights"):
        load_weights(network(), tmp_path / "weights.pt")


def test_training_that_diverges_says_at_which_step() -> None:
    data, recipe = images(), Recipe(epochs=3, batch_size=4, learning_rate=1e30)
    with pytest.raises(Diverged, match=r"was (nan|inf) at step \d of 3 in epoch \d of 3; .*below 1e\+30"):
        fit(network(), data.images, data.labels, recipe, CPU, 0)
    with pytest.raises(Diverged, match="weight holds NaN"):
        check_trained({"bias": torch.zeros(2), "weight": torch.tensor([0.0, torch.inf])})
    with pytest.raises(Diverged, match=r"^victim: training diverged"):
        make_victim(VictimSettings(network, recipe, 0), data, CPU)


def test_answers_that_are_no_numbers_are_no_class() -> None:
    with pytest.raises(InputError, match="NaN or infinity, first for image 0 of 12"):
        predict_logits(network(NotFinite()), images().images, CPU)


def test_json_holds_no_nan(tmp_path: Path) -> None:
    write_json(
        tmp_path / "it.json", {"a": float("nan"), "b": [float("inf"), 1.5], "c": (2, {"d": -float("inf")})}
    )
    text = (tmp_path / "it.json").read_text()
    assert "NaN" not in text and "Infinity" not in text and "1.5" in text
