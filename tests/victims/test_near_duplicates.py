"""Near duplicates: copies that are found, images that are none, and the hashing against all pairs."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from experiment.images import load_pool
from victims.datasets import digits, near_duplicates
from victims.datasets.images import ImageSet
from victims.datasets.splits import Splits, overlap, split


def whole() -> ImageSet:
    return digits.load((28, 28))["train"]


def jpeg(images: Tensor) -> Tensor:
    copies = []
    for image in images[:, 0].numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=75)
        copies.append(torch.tensor(np.asarray(Image.open(file)))[None])
    return torch.stack(copies)


def noisy(images: Tensor) -> Tensor:
    noise = 3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


COPIES: dict[str, Callable[[ImageSet], ImageSet]] = {
    "noise": lambda it: replace(it, images=noisy(it.images)),
    "JPEG": lambda it: replace(it, images=jpeg(it.images)),
    "darkened": lambda it: replace(it, images=(it.images * 0.7 + 20).round().to(torch.uint8)),
    "larger": lambda it: it.conform((1, 40, 36)),
    "larger and back": lambda it: it.conform((1, 40, 40)).conform((1, 28, 28)),
    "in colour": lambda it: it.conform((3, 28, 28)),
}


def unknown(images: ImageSet) -> ImageSet:
    """As another source would have them: other rows of another file, with pixels of its own."""
    return ImageSet.decoded(images.images, images.labels, images.class_names)


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found(copy: str) -> None:
    images = whole().select(slice(0, 200))
    copies = unknown(COPIES[copy](images))
    assert not torch.isin(images.ids, copies.ids).any(), "no copy has the same pixels"
    found = near_duplicates.near_duplicates(copies.small_versions, images.small_versions)
    assert found.float().mean() > 0.95
    assert overlap(images, copies) == overlap(copies, images) == int(found.sum())
    others = whole().select(slice(200, 1797))
    assert not near_duplicates.near_duplicates(copies.small_versions, others.small_versions).any()


@pytest.mark.parametrize("pairs", [2**22, 50])
def test_hashing_against_all_pairs(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of few dimensions, so that many lie close to others, and even ones, which are like nothing."""
    monkeypatch.setattr(near_duplicates, "PAIRS", pairs)
    random = torch.Generator().manual_seed(1)
    basis = torch.randn(3, 64, generator=random)
    grey = (128 + 20 * torch.randn(600, 3, generator=random) @ basis).clamp(0, 255).to(torch.uint8)
    grey[:5] = 70
    first, second = near_duplicates.small_versions(grey[:300]), near_duplicates.small_versions(grey[300:])
    cosines = first @ second.T
    expected = (cosines > near_duplicates.LEAST_COSINE).any(1)
    found = near_duplicates.near_duplicates(first, second)
    assert 20 < int(expected.sum()) < 280
    assert not found[~(cosines > near_duplicates.LEAST_COSINE - 1e-6).any(1)].any()
    assert int((found != expected).sum()) <= 1, "at the bound one in 5,000 may be missed"
    assert not near_duplicates.near_duplicates(first[:5], first[:5]).any()


def test_none_are_in_nothing() -> None:
    some, none = whole().select(slice(0, 5)).small_versions, torch.zeros(0, 64)
    assert near_duplicates.near_duplicates(none, some).shape == (0,)
    assert not near_duplicates.near_duplicates(some, none).any()


def test_a_pool_of_near_duplicates_of_test_images_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images = whole()
    test = images.select(slice(1500, 1797))
    data = Splits(images.select(slice(0, 800)), images.select(slice(800, 1500)), test)
    foreign = noisy(torch.full((900, 1, 28, 28), 128))
    copies = torch.cat([jpeg(test.images), foreign])
    part = ImageSet.decoded(copies, torch.zeros(1197, dtype=torch.int64), test.class_names)

    def load(images: ImageSet, allow_overlap: bool) -> ImageSet:
        monkeypatch.setattr("experiment.images.instantiate", lambda source, option: {"train": images})
        choice = {"source": {"_target_": "some.source"}, "part": "train"}
        return load_pool(choice, {"allow_overlap": allow_overlap}, data)

    said = r"the test images and the query pool share 29\d images, equal or nearly so"
    for pool in (part, part.conform((3, 40, 40))):
        with pytest.raises(ValueError, match=said):
            load(unknown(pool), allow_overlap=False)
    assert len(load(part, allow_overlap=True)) == 1197
    assert len(load(part.select(slice(290, 1197)), allow_overlap=False)) == 907
    assert "7 images have the pixels of others that should differ from them, or nearly" in caplog.text


def test_splits_whose_parts_are_alike_are_refused() -> None:
    images = whole()
    parts = {"train": images, "test": unknown(COPIES["darkened"](images.select(slice(0, 300))))}
    slices = {"train": "train[:800]", "pool": "train[800:]", "test": "test"}
    with pytest.raises(ValueError, match=r"training images and the test images share 300 images"):
        split(parts, slices)
