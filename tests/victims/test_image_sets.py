"""Sets of images: conversions, slices, splits, and what two of them share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from victims.datasets.images import ImageSet
from victims.datasets.splits import (
    check_disjoint,
    overlap,
    resolve_splits,
    select,
    split,
    with_the_same_classes,
)


def whole(count: int, seed: int = 0) -> ImageSet:
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed))
    return ImageSet.decoded(images.to(torch.uint8), torch.arange(count) % 3, ("a", "b", "c"))


def test_conform_against_plain_arithmetic() -> None:
    colour = whole(3)
    colour = ImageSet.decoded(colour.images.repeat(1, 3, 1, 1) // 2, colour.labels, colour.class_names)
    colour.images[:, 1] += 40
    grey = colour.conform((1, 4, 4)).images
    for i in range(3):
        r, g, b = colour.images[i, :, 1, 2].tolist()
        assert abs(int(grey[i, 0, 1, 2]) - (0.299 * r + 0.587 * g + 0.114 * b)) <= 0.51
    back = whole(3).conform((3, 4, 4)).images
    assert torch.equal(back[:, 0], back[:, 2]) and torch.equal(back[:, :1], whole(3).images)
    flat = ImageSet.decoded(torch.full((2, 1, 8, 8), 77, dtype=torch.uint8), torch.zeros(2).long(), ("a",))
    assert (flat.conform((1, 3, 5)).images == 77).all()
    halves = flat.images.clone()
    halves[:, :, :, 4:] = 177
    small = ImageSet.decoded(halves, flat.labels, ("a",)).conform((1, 2, 2)).images[0, 0]
    assert small[0, 0] < 100 < 150 < small[0, 1]
    assert flat.conform((1, 8, 8)) is flat


@given(st.integers(1, 500), st.integers(0, 100))
def test_percentages_meet(count: int, percent: int) -> None:
    rows = torch.arange(count)
    parts = {"train": ImageSet(torch.zeros(count, 1, 1, 1), torch.zeros(count), (), "s", rows, rows)}
    cut = count * percent // 100
    if cut > 0:
        assert len(select(parts, f"train[:{percent}%]", "x")) == cut
    if cut < count:
        assert select(parts, f"train[{percent}%:]", "x").rows.tolist() == list(range(cut, count))
        assert len(select(parts, f"train[{percent / 100}:]", "x")) in (
            count - cut,
            count - cut - 1,
            count - cut + 1,
        )


def test_slices() -> None:
    parts = {"train": whole(10), "test": whole(4, seed=1)}
    for text, rows in {
        "train": range(10),
        "train[2:5]": [2, 3, 4],
        "train[-3:]": [7, 8, 9],
        "train[:2]+train[8:]": [0, 1, 8, 9],
        "test[:50%]": [0, 1],
    }.items():
        assert select(parts, text, "x").rows.tolist() == list(rows)
    for text, said in {
        "train[:11]": "beyond the 10 images",
        "valid": "parts train, test",
        "train[a:]": "'a' is no number",
        "train[5:5]": "no image",
        "train[:1]+test": "cannot be joined",
        "train[1]": "a slice starts with",
        "train[:inf%]": "no number",
        "train[:120%]": "beyond the 10 images",
        "train[:6]+train[5:]": "twice",
    }.items():
        with pytest.raises(ValueError, match=said):
            select(parts, text, "dataset.splits.train")


def test_splits_are_disjoint_unless_told_otherwise() -> None:
    parts = {"train": whole(10)}
    slices = {"train": "train[:6]", "pool": "train[5:8]", "test": "train[8:]"}
    with pytest.raises(ValueError, match=r"share 1 images.*dataset.allow_overlap=true"):
        split(parts, slices)
    assert len(split(parts, slices, allow_overlap=True).pool) == 3
    slices["pool"] = "train[6:8]"
    first, second = split(parts, slices, shuffle_seed=1), split(parts, slices, shuffle_seed=2)
    assert first.train.rows.tolist() != second.train.rows.tolist()
    together = torch.cat([first.train.rows, first.pool.rows, first.test.rows])
    assert sorted(together.tolist()) == list(range(10))


def test_overlap_follows_rows_through_resizing_and_not_across_sources() -> None:
    images = whole(10)
    assert overlap(images.select(slice(0, 6)), images.select(slice(4, 10)).conform((3, 8, 8))) == 2
    assert overlap(images, whole(10, seed=1)) == 0
    check_disjoint({"a": images.select(slice(0, 5)), "b": images.select(slice(5, 10))})


def test_a_few_duplicates_of_a_published_data_set_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    first, second = whole(200), whole(200, seed=1)
    second.ids[0] = first.ids[7]
    assert overlap(first, second) == 0
    assert "1 images have the pixels of others" in caplog.text
    second.ids[:3] = first.ids[:3]
    assert overlap(first, second) == 3


def test_parts_agree_on_their_classes() -> None:
    images, labels = torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2).long()

    def part(*names: str) -> ImageSet:
        return ImageSet.decoded(images, labels, names)

    widened = with_the_same_classes({"train": part("0", "1", "2"), "test": part("0", "1")})
    assert [p.class_names for p in widened.values()] == [("0", "1", "2")] * 2
    assert with_the_same_classes({"train": part("a", "b")})["train"].num_classes == 2
    for other in (part("b", "a"), part("a"), part("0", "1")):
        with pytest.raises(ValueError, match="name different classes"):
            with_the_same_classes({"train": part("a", "b"), "test": other})


def test_split_names() -> None:
    choices = {"paper": {"train": "train", "pool": "test[:5]", "test": "test[5:]"}}
    assert resolve_splits("paper", choices) == choices["paper"]
    assert resolve_splits(choices["paper"], {}) == choices["paper"]
    with pytest.raises(ValueError, match=r"dataset.splits=half.*valid: paper"):
        resolve_splits("half", choices)
    with pytest.raises(ValueError, match="train, pool and test"):
        resolve_splits({"train": "train"}, choices)


def test_a_part_can_be_taken_in_its_own_order_though_parts_are_shuffled() -> None:
    parts = {"train": whole(10)}
    slices = {"train": "train_in_order[:4]", "pool": "train_in_order[4:8]", "test": "train_in_order[8:]"}
    made = split(parts, slices, shuffle_seed=0)
    assert torch.cat([made.train.rows, made.pool.rows, made.test.rows]).tolist() == list(range(10))
