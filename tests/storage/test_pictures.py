"""One decoder: who trains on a picture and who asks about it see the same pixels."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gate.client import read_image
from storage.pictures import open_picture
from victims.datasets.decoding import decode_images

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8)


def deep(path: Path) -> None:
    Image.fromarray(RANDOM.integers(0, 65536, (6, 4), dtype=np.uint16)).save(path)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(PIXELS).save(path, exif=exif)


def transparent(path: Path) -> None:
    alpha = RANDOM.integers(0, 256, (6, 4, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([PIXELS, alpha], 2)).save(path)


def palette(path: Path) -> None:
    image = Image.fromarray(PIXELS).convert("P")
    image.save(path, transparency=image.getpixel((0, 0)))


def grey_and_alpha(path: Path) -> None:
    Image.fromarray(RANDOM.integers(0, 256, (6, 4, 2), dtype=np.uint8), "LA").save(path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(6, 4), (3, 5)])
@pytest.mark.parametrize("save", [deep, turned, transparent, palette, grey_and_alpha])
def test_client_and_loader_see_the_same(
    save: object, size: tuple[int, int], channels: int, tmp_path: Path
) -> None:
    path = tmp_path / "it.png"
    save(path)  # type: ignore[operator]
    loaded, _ = decode_images([str(path)], lambda i: str(path), size, channels)
    assert torch.equal(loaded, torch.from_numpy(read_image(path, (channels, *size))))


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png", (1, 1, 4)).flatten().tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(("kind", "shape"), [("jpeg", (4, 6)), ("png", (6, 4)), ("webp", (6, 4))])
def test_a_picture_is_turned_where_browsers_turn_it(
    kind: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    turned(tmp_path / f"it.{kind}")
    assert np.asarray(open_picture(tmp_path / f"it.{kind}", "it")).shape == (*shape, 3)


def test_an_animated_png_is_refused_and_other_animations_show_their_first_picture(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (4, 4), color) for color in ("red", "blue"))
    for kind in ("png", "gif", "webp"):
        first.save(tmp_path / f"it.{kind}", save_all=True, append_images=[second], lossless=True)
    for kind in ("gif", "webp"):
        assert np.asarray(open_picture(tmp_path / f"it.{kind}", "it"))[0, 0].tolist() == [255, 0, 0][:3]
    with pytest.raises(ValueError, match="it is not an image that can be decoded: it is an animated PNG"):
        open_picture(tmp_path / "it.png", "it")


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path: Path) -> None:
    grey = np.array([[0, 257]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "it.png", transparency=257)
    assert read_image(tmp_path / "it.png", (1, 1, 2)).flatten().tolist() == [0, 255]


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = 0, 128, 255
    Image.fromarray(pixels).save(tmp_path / "it.png")
    assert read_image(tmp_path / "it.png", (1, 1, 3)).flatten().tolist() == [255, 127, 0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"):
        path = tmp_path / f"it.{kind}"
        Image.fromarray(RANDOM.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
        good = path.read_bytes()
        for _ in range(40):
            broken = bytearray(good[: RANDOM.integers(1, len(good))])
            for place in RANDOM.integers(0, len(broken), 5):
                broken[place] ^= 255
            with suppress(ValueError):  # and nothing else
                open_picture(bytes(broken), "it")
    with pytest.raises(ValueError, match=r"none\.png: there is no such file"):
        read_image(tmp_path / "none.png", (1, 2, 2))
    with pytest.raises(ValueError, match="is not an image that can be decoded"):
        read_image(tmp_path, (1, 2, 2))
