"""Cutting a data set into the victim's training images, the attacker's pool and the test images."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from victims.datasets.images import ImageSet

log = logging.getLogger(__name__)

TOLERATED_DUPLICATES = 0.01
"""Share of a set that may have the pixels of images elsewhere before they count as the same images."""

_SLICE = re.compile(r"(?P<part>\w+)(?:\[(?P<start>[^:\]]*):(?P<stop>[^:\]]*)\])?")


@dataclass(frozen=True, eq=False)
class Splits:
    """What the victim trains on, what the attacker draws in-distribution queries from, what scores both."""

    train: ImageSet
    pool: ImageSet
    test: ImageSet


def resolve_splits(
    splits: str | Mapping[str, str], choices: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    """The slices that `splits` names among `choices`, or `splits` itself where it maps train, pool, test.

    Raises ValueError, with the valid names, for anything else.
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
    """The images that a slice such as `train`, `test[9000:]`, `train[:80%]` or `train[-1000:]` names.

    Bounds are numbers of images, percentages, or fractions with a point. Several slices of one part can
    be joined by `+`. Raises ValueError naming `option` for a slice that is malformed, empty or too long.
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
    """A slice's bound as a position; percentages and fractions are rounded down, so that they meet."""
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
    """How many images of `first` are also in `second`: the same rows of one source, or the same pixels.

    Published data sets hold a few images twice, under other rows: up to TOLERATED_DUPLICATES of the
    smaller set, such pixels are named in a warning and not counted.
    """
    same_rows = 0 if first.source != second.source else int(torch.isin(first.rows, second.rows).sum())
    same_pixels = int(torch.isin(first.ids, second.ids).sum())
    if same_pixels > max(same_rows, TOLERATED_DUPLICATES * min(len(first), len(second))):
        return same_pixels
    if same_pixels > same_rows:
        log.warning("%d images have the pixels of others that should differ from them", same_pixels)
    return same_rows


def check_disjoint(sets: Mapping[str, ImageSet]) -> None:
    """Raise ValueError when two of the named sets share images (see `overlap`)."""
    for (name, images), (other_name, other) in itertools.combinations(sets.items(), 2):
        shared = overlap(images, other)
        if shared:
            raise ValueError(
                f"{name} and {other_name} share {shared:,} images; change dataset.splits or query_pool, or "
                "set dataset.allow_overlap=true if that is meant"
            )


def split(
    parts: Mapping[str, ImageSet],
    slices: Mapping[str, str],
    *,
    shuffle_seed: int | None = None,
    allow_overlap: bool = False,
    hint: str = "",
) -> Splits:
    """Cut the parts by the slices of train, pool and test, which may share no image.

    With `shuffle_seed` each part is put into a random order first, for data sorted by class.
    """
    parts = with_the_same_classes(parts)
    if shuffle_seed is not None:
        parts = {name: _shuffled(part, shuffle_seed) for name, part in parts.items()}
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
    """The parts with one list of classes; raises ValueError where they name different ones.

    Parts whose classes are mere numbers get as many as the part with the most.
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
