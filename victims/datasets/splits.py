"""Splits of a data set: the victim's training images, the attacker's pool, and the test images."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from victims.datasets.images import ImageSet
from victims.datasets.near_duplicates import near_duplicates

log = logging.getLogger(__name__)

TOLERATED_DUPLICATES = 0.01
"""Share of a set's images whose pixels may also occur in another set (see `overlap`)."""

TOLERATED_NEAR_DUPLICATES = 0.05
"""Share of a set's images of which another set may hold near duplicates."""

IN_ORDER = "_in_order"
"""What follows a part's name in a slice that takes it as it lies there, though parts are shuffled."""

_SLICE = re.compile(r"(?P<part>\w+)(?:\[(?P<start>[^:\]]*):(?P<stop>[^:\]]*)\])?")


@dataclass(frozen=True, eq=False)
class Splits:
    """The three sets of an experiment.

    Attributes:
        train: The victim's training images.
        pool: The attacker's in-distribution images.
        test: Images that score victim and substitute.
    """

    train: ImageSet
    pool: ImageSet
    test: ImageSet


def resolve_splits(
    splits: str | Mapping[str, str], choices: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    """Return the slices of a split.

    Args:
        splits: Name of a split, or slices for train, pool and test.
        choices: The named splits of the data set.

    Raises:
        ValueError: There is no such split (the message lists those there are), or not all three slices.
    """
    if isinstance(splits, str):
        if splits not in choices:
            raise ValueError(
                f"dataset.splits={splits}: there is no such split; valid: {', '.join(choices)}, or slices "
                "such as {train: 'train[:80%]', pool: 'train[80%:]', test: test}"
            )
        return choices[splits]
    if set(splits) != {"train", "pool", "test"}:
        raise ValueError(
            f"dataset.splits must give train, pool and test, not {', '.join(splits) or 'nothing'}"
        )
    return splits


def select(parts: Mapping[str, ImageSet], text: str, option: str, hint: str = "") -> ImageSet:
    """Return the images that a slice names, such as `train`, `test[9000:]` or `train[:80%]`.

    Bounds are numbers of images, percentages, or fractions with a point; negative ones count from the end.
    Slices of one part can be joined by `+`.

    Args:
        parts: Parts of the data set by their names.
        text: The slice.
        option: The option that it comes from, for the error message.
        hint: What else to say in an error message.

    Raises:
        ValueError: The slice is malformed, empty, too long, or names an image twice.
    """
    pieces = [_positions(parts, piece.strip(), option, hint) for piece in str(text).split("+")]
    names = {name for name, _ in pieces}
    if len(names) > 1:
        raise ValueError(f"{option}={text}: slices of different parts cannot be joined")
    positions = torch.cat([positions for _, positions in pieces])
    if not len(positions):
        raise ValueError(f"{option}={text} holds no image{hint}")
    if len(positions.unique()) < len(positions):
        raise ValueError(f"{option}={text} names some images twice")
    return parts[names.pop()].select(positions)


def _positions(parts: Mapping[str, ImageSet], text: str, option: str, hint: str) -> tuple[str, torch.Tensor]:
    """Return the part that one slice names, and the positions of its images there."""
    match = _SLICE.fullmatch(text)
    if match is None or match["part"] not in parts:
        raise ValueError(
            f"{option}={text}: a slice starts with one of the parts {', '.join(parts)}, as in "
            f"'{next(iter(parts))}[:80%]'{hint}"
        )
    length = len(parts[match["part"]])
    start = _bound(match["start"], length, 0, f"{option}={text}", hint)
    stop = _bound(match["stop"], length, length, f"{option}={text}", hint)
    return match["part"], torch.arange(start, max(start, stop))


def _bound(text: str | None, length: int, default: int, where: str, hint: str) -> int:
    """Return a slice's bound as a position; rounding down lets `[:80%]` and `[80%:]` meet."""
    if not text:
        return default
    try:
        if text.endswith("%"):
            value = int(float(text[:-1]) * length / 100 + 1e-9)
        elif "." in text:
            value = int(float(text) * length + 1e-9)
        else:
            value = int(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{where}: {text!r} is no number, percentage or fraction") from None
    value = value + length if value < 0 else value
    if not 0 <= value <= length:
        raise ValueError(f"{where} reaches beyond the {length:,} images that there are{hint}")
    return value


def overlap(first: ImageSet, second: ImageSet) -> int:
    """Count the images of `first` that are also in `second`: same rows of one source, same pixels, or alike.

    Published data sets contain a few images twice, or nearly. Equal pixels in other rows are therefore not
    counted, but only warned about, if they are at most TOLERATED_DUPLICATES of the smaller set; so are near
    duplicates that are at most TOLERATED_NEAR_DUPLICATES of it, and not even that below the former share.
    """
    same_rows = 0 if first.source != second.source else int(torch.isin(first.rows, second.rows).sum())
    has_same_pixels = torch.isin(first.ids, second.ids)
    same_pixels, smaller = int(has_same_pixels.sum()), min(len(first), len(second))
    if same_pixels > max(same_rows, TOLERATED_DUPLICATES * smaller):
        return same_pixels
    if same_rows:  # they are refused whatever else there is
        return same_rows
    is_alike = has_same_pixels | near_duplicates(first.small_versions, second.small_versions)
    alike = int(is_alike.sum())
    if alike > TOLERATED_NEAR_DUPLICATES * smaller:
        return alike
    if same_pixels or alike > TOLERATED_DUPLICATES * smaller:
        log.warning("%d images have the pixels of others that should differ from them, or nearly", alike)
    return 0


def check_disjoint(sets: Mapping[str, ImageSet]) -> None:
    """Raise ValueError when two of the named sets share images (see `overlap`)."""
    for (name, images), (other_name, other) in itertools.combinations(sets.items(), 2):
        shared = overlap(images, other)
        if shared:
            raise ValueError(
                f"{name} and {other_name} share {shared:,} images, equal or nearly so; change dataset.splits "
                "or query_pool, or set dataset.allow_overlap=true if that is meant"
            )


def split(
    parts: Mapping[str, ImageSet],
    slices: Mapping[str, str],
    *,
    shuffle_seed: int | None = None,
    allow_overlap: bool = False,
    hint: str = "",
) -> Splits:
    """Cut a data set into training images, pool and test images.

    Args:
        parts: Parts of the data set by their names.
        slices: Slices for train, pool and test (see `select`).
        shuffle_seed: Seed of a random order for each part, for data that lie in some order; None keeps it.
            With a seed, slices of `<part>_in_order` have the part as it lies there.
        allow_overlap: Whether the three sets may share images.
        hint: What else to say in an error message about a slice.

    Raises:
        ValueError: A slice is not valid, sets share images, or parts name different classes.
    """
    parts = with_the_same_classes(parts)
    if shuffle_seed is not None:
        shuffled = {name: _shuffled(part, shuffle_seed) for name, part in parts.items()}
        parts = shuffled | {f"{name}{IN_ORDER}": part for name, part in parts.items()}
    cut = {
        name: select(parts, slices[name], f"dataset.splits.{name}", f" ({hint})" if hint else "")
        for name in ("train", "pool", "test")
    }
    if not allow_overlap:
        check_disjoint(
            {
                "the victim's training images": cut["train"],
                "the attacker's pool": cut["pool"],
                "the test images": cut["test"],
            }
        )
    return Splits(**cut)


def with_the_same_classes(parts: Mapping[str, ImageSet]) -> dict[str, ImageSet]:
    """Return the parts with one list of classes; raises ValueError if they name different ones.

    If the classes are mere numbers, each part gets as many as the part with the most.
    """
    longest = max((part.class_names for part in parts.values()), key=len)
    named = {part.class_names for part in parts.values()}
    if all(names == tuple(map(str, range(len(names)))) for names in named):
        return {name: replace(part, class_names=longest) for name, part in parts.items()}
    if len(named) > 1:
        listed = "; ".join(f"{name}: {', '.join(part.class_names[:20])}" for name, part in parts.items())
        raise ValueError(f"the parts of the data set name different classes ({listed})")
    return dict(parts)


def _shuffled(part: ImageSet, seed: int) -> ImageSet:
    return part.select(torch.randperm(len(part), generator=torch.Generator().manual_seed(seed)))
