"""A substitute that begins with weights trained elsewhere: what it begins with, what is tuned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from experiment.keys import Config, DataPrints, Identity
from extraction.attacks.base import Attacker
from extraction.attacks.knockoff import Knockoff
from extraction.attacks.pretrained import IMAGENET, Pretrained, Tuned, last_layer
from extraction.extract import Extraction
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transfer_set import TransferSet
from support.extracting import CONF, CPU, TruthOracle, evaluation, pool
from training.fit import fit
from training.recipe import Augmentation, Recipe
from victims.architectures.build import build_network
from victims.architectures.torchvision_model import torchvision_model
from victims.datasets import digits

RECIPE = Recipe(epochs=15, batch_size=16, learning_rate=0.1, momentum=0.9)


def network(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """With a layer of normalisation, whose statistics a linear probe must not touch."""
    return nn.Sequential(
        *(nn.Conv2d(image_shape[0], 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(12 * 36, 24), nn.ReLU(), nn.Linear(24, num_classes)),
    )


def new(classes: int = 10, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(network, (1, 8, 8), classes, pool().images)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that tells the digits 0 to 4 from the others, of other images than the pool's."""
    others = digits.load((8, 8))["train"].select(slice(900, 1797))
    net = new(5, seed=0)
    fit(net, others.images, others.labels % 5, RECIPE, CPU, 0)
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(net.state_dict(), path)
    return path


def stored(path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


def without_normalisation(path: Path) -> Path:
    """As a file of the bare network has them."""
    inner = {name.removeprefix("network."): it for name, it in stored(path).items() if "network." in name}
    other = path.with_name("inner.pt")
    torch.save({"state_dict": inner}, other)
    return other


@pytest.mark.parametrize("file", [lambda it: it, without_normalisation], ids=["whole", "inner"])
def test_a_new_substitute_has_the_weights_but_for_its_last_layer(
    trained: Path, file: Callable[[Path], Path]
) -> None:
    net, before = new(), new().state_dict()
    Pretrained(str(file(trained))).begin(net)
    for name, value in net.state_dict().items():
        is_head = name in ("network.6.weight", "network.6.bias")
        if name in ("mean", "std") and file(trained) != trained:
            expected = torch.tensor(IMAGENET[name == "std"]).mean().reshape(1, 1, 1)
        else:
            expected = before[name] if is_head else stored(trained)[name]
        assert torch.equal(value, expected), name


def test_weights_of_as_many_classes_bring_their_last_layer(tmp_path: Path) -> None:
    torch.save(new(seed=5).state_dict(), tmp_path / "weights.pt")
    net = new(seed=6)
    Pretrained(str(tmp_path / "weights.pt")).begin(net)
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), new(seed=5).parameters(), strict=True))


def attacker(net: nn.Module, substitute: nn.Module | None = None) -> Attacker:
    known = pool().select(slice(0, 120))
    answered = TransferSet(known.images.float() / 255, known.labels)
    return Attacker(pool(), answered, substitute, 1, 3, CPU, 10, net)


def test_a_probe_is_the_last_layer_trained_on_the_features(trained: Path) -> None:
    """Against logistic regression by hand: the same batches on features that were computed beforehand."""
    net, other = new(), new()
    recipe = Recipe(epochs=3, batch_size=16, learning_rate=0.1, augmentation=Augmentation(shift=2))
    attack = Pretrained(str(trained), "head")
    attack.train(attacker(net), net, recipe)
    attack.begin(other)
    images = attacker(net).transfer_set.images
    body = nn.Sequential(*list(other.network)[:-1]).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        inputs = body((images - other.mean) / other.std)  # type: ignore[operator]
        assert torch.allclose(net(images), last_layer(net)(inputs), atol=1e-5), "the body is as it was"
        labels = attacker(net).transfer_set.labels
        after, before = (nn.functional.cross_entropy(last_layer(it)(inputs), labels) for it in (net, other))
    assert float(after) < 0.7 * float(before)
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]) == (not name.startswith("network.6")), name


def test_all_is_tuned_and_a_warm_start_does_not_begin_again(trained: Path) -> None:
    net = new()
    attack = Pretrained(str(trained))
    attack.train(attacker(net), net, RECIPE)
    first = [it.detach().clone() for it in net.parameters()]
    assert not torch.equal(first[0], stored(trained)["network.0.weight"])
    slow = Recipe(epochs=1, batch_size=60, learning_rate=1e-9, weight_decay=0)
    attack.train(attacker(net, substitute=net), net, slow)
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(first, net.parameters(), strict=True))


@pytest.mark.parametrize("tunes", ["all", "head"])
def test_it_steals_more_with_fewer_queries(trained: Path, tmp_path: Path, tunes: Tuned) -> None:
    found = {}
    for attack in (Knockoff(), Pretrained(str(trained), tunes)):
        path = tmp_path / f"{type(attack).__name__}.pt"
        settings = ExtractionSettings(budget=30, round_size=30, answers="hard", seed=2)
        recipe = Recipe(epochs=15, batch_size=8, learning_rate=0.02, momentum=0.9)
        run = Extraction(attack, pool(), 10, SubstituteSettings(network, recipe), settings, CPU, path)
        run.run(TruthOracle(), evaluation())
        found[type(attack)] = run.rounds[-1].accuracy
    assert found[Pretrained] > found[Knockoff] + 0.03


def test_torchvisions_weights_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched here: the name leads to weights that were made before."""

    def architecture(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return torchvision_model("squeezenet1_1", image_shape, num_classes, size=24)

    torch.manual_seed(0)
    weights = torchvision.models.get_model("mobilenet_v3_small", weights=None).state_dict()
    asked: list[str] = []

    def get_weight(name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(get_state_dict=lambda **options: weights)

    monkeypatch.setattr("torchvision.models.get_weight", get_weight)

    def mobile(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return torchvision_model("mobilenet_v3_small", image_shape, num_classes, size=24)

    net = build_network(mobile, (1, 8, 8), 10, pool().images)
    attack = Pretrained("MobileNet_V3_Small_Weights.IMAGENET1K_V1", "head")
    attack.check_substitute(net)
    assert asked == ["MobileNet_V3_Small_Weights.IMAGENET1K_V1"]
    first = next(net.parameters())
    assert torch.equal(first, next(iter(weights.values())))
    assert float(net.mean) == pytest.approx(sum(IMAGENET[0]) / 3)  # type: ignore[arg-type]
    assert last_layer(net).out_features == 10
    with pytest.raises(
        ValueError, match=r"attack\.rule\.tunes=head needs .* whose last layer is linear, not a Conv2d"
    ):
        attack.check_substitute(build_network(architecture, (1, 8, 8), 10))


def test_images_are_scaled_for_a_network_that_was_made_for_larger_ones() -> None:
    seen: list[tuple[int, ...]] = []
    net = torchvision_model("mobilenet_v3_small", (1, 8, 8), 10, size=40)
    first = next(it for it in net.modules() if isinstance(it, nn.Conv2d))
    first.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    net.eval()(torch.rand(2, 1, 8, 8))
    assert seen == [(2, 3, 40, 40)]
    with pytest.raises(ValueError, match=r"architecture\.size must be a whole number of at least 1, or null"):
        torchvision_model("mobilenet_v3_small", (1, 8, 8), 10, size=0)


def test_weights_without_sense_are_refused(tmp_path: Path) -> None:
    for name, content in {"text": b"no weights", "list": None, "other": None}.items():
        (tmp_path / name).write_bytes(content or b"")
    torch.save([1, 2], tmp_path / "list")
    torch.save({"0.weight": torch.zeros(3, 3)}, tmp_path / "other")
    for weights, said in {
        str(tmp_path / "text"): "is no file of weights",
        str(tmp_path / "list"): "holds no state dict",
        str(tmp_path / "other"): "are not those of the substitute: 6 of its 6 tensors have no match",
        str(tmp_path / "none"): "is neither a file nor the name of weights of torchvision",
        "ResNet18_Weights.IMAGENET9": "is neither a file nor the name of weights of torchvision",
    }.items():
        with pytest.raises(ValueError, match=rf"attack\.rule\.weights={weights} {said}"):
            Pretrained(weights).check_substitute(new())
    with pytest.raises(ValueError, match=r"attack\.rule\.tunes must be one of all, head, not 'body'"):
        Pretrained(None, "body")  # type: ignore[arg-type]


def test_the_weights_are_known_by_their_content(trained: Path, tmp_path: Path) -> None:
    same, other = tmp_path / "same.pt", tmp_path / "other.pt"
    same.write_bytes(trained.read_bytes())
    torch.save(new().state_dict(), other)

    def extraction(weights: Path) -> Any:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("config", ["attack=pretrained", f"attack.rule.weights={weights}"])
        config = cast(Config, OmegaConf.to_container(composed, resolve=True))
        return Identity(config, DataPrints("train", "test", "pool")).extraction

    assert extraction(trained) == extraction(same) != extraction(other)
