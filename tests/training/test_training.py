"""Training on tensors: determinism, soft targets, augmentation, recipes."""

from __future__ import annotations

import itertools
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from training import remaining
from training.batches import TensorBatches, augment, to_float
from training.fit import fit, predict_logits
from training.recipe import Augmentation, Hardware, Recipe
from training.seeds import derive_seed, generator, seeded

CPU = Hardware(accelerator="cpu", precision="32-true")


def blobs(count: int = 240) -> tuple[Tensor, Tensor]:
    """Images whose brightest quarter is their class."""
    labels = torch.arange(count) % 4
    images = torch.randint(0, 80, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    for label in range(4):
        row, column = divmod(label, 2)
        images[labels == label, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 150
    return images.to(torch.uint8), labels


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4))


def trained(seed: int, recipe: Recipe, targets: Tensor | None = None) -> nn.Module:
    images, labels = blobs()
    with seeded(0, "network"):
        model = network()
    fit(model, images, labels if targets is None else targets, recipe, CPU, seed)
    return model


def test_an_interrupt_stays_one_and_another_can_follow() -> None:
    """Lightning would exit with 1, and be deaf to Ctrl-C from then on."""

    class Interrupted(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(Interrupted(64, 4), *blobs(), Recipe(epochs=1, batch_size=120), CPU, seed=0)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


class Told(nn.Linear):
    """Sends itself SIGTERM in one of its steps."""

    steps, at = 0, 0

    def forward(self, images: Tensor) -> Tensor:
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        self.steps += 1
        return super().forward(images.flatten(1))


def test_a_handler_of_the_signal_to_terminate_is_kept() -> None:
    """A cluster announces a preemption so: the training goes on to its end."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        images, labels = blobs()
        network = Told(64, 4)
        fit(network, images, labels, Recipe(epochs=3, batch_size=120), CPU, seed=0)
        after = signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM] and network.steps == 6
    assert callable(after)


@pytest.mark.parametrize("at", [0, 1, 5])
def test_who_is_told_to_terminate_says_so_by_its_exit_code(at: int) -> None:
    """In the first batch, in the last of an epoch and in the last of all."""
    images, labels = blobs()
    recipe, network = Recipe(epochs=3, batch_size=120), Told(64, 4)
    network.at = at
    with pytest.raises(SystemExit) as ended:
        fit(network, images, labels, recipe, CPU, seed=0)
    assert ended.value.code == 128 + signal.SIGTERM


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle", "plateau"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_schedule_learns(schedule: str, optimizer: str) -> None:
    recipe = Recipe(
        epochs=8,
        batch_size=32,
        optimizer=optimizer,  # type: ignore[arg-type]
        schedule=schedule,  # type: ignore[arg-type]
        learning_rate=0.01 if optimizer == "adam" else 0.1,
        step_epochs=3,
        plateau_patience=2,
    )
    images, labels = blobs()
    logits = predict_logits(trained(1, recipe), images, CPU)
    assert (logits.argmax(1) == labels).float().mean() > 0.95


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_stream_alone() -> None:
    recipe = Recipe(epochs=2, augmentation=Augmentation(shift=1, flip=True))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = trained(1, recipe)
    assert torch.equal(torch.rand(1), expected)
    second, other = trained(1, recipe), trained(2, recipe)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_probabilities_are_targets_too() -> None:
    images, labels = blobs()
    soft = nn.functional.one_hot(labels, 4).float() * 0.7 + 0.075
    recipe = Recipe(epochs=30, batch_size=32, learning_rate=0.1)
    probabilities = predict_logits(trained(1, recipe, soft), images, CPU).softmax(1)
    assert abs(float(probabilities.amax(1).mean()) - 0.775) < 0.05


def test_every_image_is_seen_once_an_epoch_in_batches_of_almost_one_size() -> None:
    images = torch.arange(65, dtype=torch.uint8).reshape(65, 1, 1, 1)
    batches = TensorBatches(images, torch.arange(65), 64, Augmentation(), seed=0)
    for _ in range(2):
        seen = list(batches)
        assert [len(targets) for _, targets in seen] == [33, 32]
        assert sorted(torch.cat([targets for _, targets in seen]).tolist()) == list(range(65))
        for inputs, targets in seen:
            assert torch.equal(inputs.flatten(), targets / 255)


def test_augmentation_shifts_and_mirrors() -> None:
    images = torch.rand(64, 2, 5, 5)
    shifted = augment(images, Augmentation(shift=2), torch.Generator().manual_seed(0))
    padded = nn.functional.pad(images, (2, 2, 2, 2))
    for i in range(64):
        windows = [padded[i, :, r : r + 5, c : c + 5] for r in range(5) for c in range(5)]
        assert any(torch.equal(shifted[i], window) for window in windows)
    flipped = augment(images, Augmentation(flip=True), torch.Generator().manual_seed(0))
    mirrored = [torch.equal(flipped[i], images[i].flip(-1)) for i in range(64)]
    unchanged = [torch.equal(flipped[i], images[i]) for i in range(64)]
    assert all(m != u for m, u in zip(mirrored, unchanged, strict=True))
    assert 10 < sum(mirrored) < 54
    assert torch.equal(augment(images, Augmentation(), torch.Generator()), images)


def test_bytes_and_floats_are_the_same_images() -> None:
    images = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_float(images), to_float(images.float() / 255))
    assert float(to_float(images).max()) == 1.0


def test_seeds_differ_by_purpose() -> None:
    seeds = {derive_seed(s, p, n) for s in range(5) for p in ("victim", "substitute") for n in range(5)}
    assert len(seeds) == 50
    assert torch.equal(torch.rand(3, generator=generator(1, "a")), torch.rand(3, generator=generator(1, "a")))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"schedule": "linear"}, "recipe.schedule must be one of constant, step"),
        ({"optimizer": "lion"}, "recipe.optimizer must be one of sgd, adam"),
        ({"epochs": 0}, "recipe.epochs"),
        ({"learning_rate": 0.0}, "recipe.learning_rate"),
        ({"label_smoothing": 1.0}, "recipe.label_smoothing"),
    ],
)
def test_a_wrong_recipe_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe(**options)  # type: ignore[arg-type]


def test_a_missing_gpu_is_said() -> None:
    if torch.cuda.is_available():
        assert Hardware(accelerator="gpu").device.type == "cuda"
    else:
        with pytest.raises(ValueError, match="no GPU"):
            Hardware(accelerator="gpu")


def test_a_long_training_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = itertools.count()  # a batch takes one by this clock
    monkeypatch.setattr(remaining, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    caplog.set_level("INFO", logger=remaining.__name__)
    trained(0, Recipe(epochs=10, batch_size=24))
    assert [each.message for each in caplog.records] == [
        "20 % of the training is done; about 80 s to go",
        "60 % of the training is done; about 40 s to go",
    ]


def test_a_short_training_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger=remaining.__name__)
    trained(0, Recipe(epochs=1, batch_size=24))
    assert not caplog.records
