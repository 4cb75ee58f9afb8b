"""Images from every kind of source."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import torch
from PIL import Image

from support.missing import shared_file
from victims.datasets import digits, imagefolder, parquet, photo_patches, torchvision_images
from victims.datasets.splits import overlap


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def random_images(count: int, shape: tuple[int, ...] = (6, 5), seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


def write_parquet(path: Path, images: list[bytes], labels: list[int], names: list[str] | None = None) -> None:
    table = pa.table(
        {
            "image": pa.array([{"bytes": image, "path": None} for image in images]),
            "label": pa.array(labels, pa.int64()),
        }
    )
    if names:
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path)


def test_digits_and_patches_need_nothing() -> None:
    part = digits.load()["train"]
    assert part.images.shape == (1797, 1, 16, 16)
    assert part.num_classes == 10
    assert part.labels.bincount().min() > 170
    patches = photo_patches.load(count=100)["train"]
    assert patches.images.shape == (100, 1, 16, 16)
    assert torch.equal(patches.images, photo_patches.load(count=100)["train"].images)
    assert not torch.equal(patches.images, photo_patches.load(count=100, seed=1)["train"].images)
    assert patches.images.float().flatten(1).std(1).median() > 5, "patches have content"


def test_parquet_round_trip_and_names(tmp_path: Path) -> None:
    arrays = random_images(5)
    write_parquet(
        tmp_path / "train-00000-of-00002.parquet", [png(a) for a in arrays[:3]], [0, 1, 2], list("xyz")
    )
    write_parquet(
        tmp_path / "train-00001-of-00002.parquet", [png(a) for a in arrays[3:]], [2, 0], list("xyz")
    )
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [png(arrays[0])], [1], list("xyz"))
    parts = parquet.load(str(tmp_path))
    assert set(parts) == {"train", "test"}
    assert np.array_equal(parts["train"].images[:, 0].numpy(), np.stack(arrays))
    assert parts["train"].labels.tolist() == [0, 1, 2, 2, 0]
    assert parts["train"].class_names == ("x", "y", "z")


def test_colour_stays_and_grey_joins_colour(tmp_path: Path) -> None:
    colour, grey = random_images(1, (6, 5, 3))[0], random_images(1)[0]
    write_parquet(tmp_path / "train-0.parquet", [png(colour), png(grey)], [0, 1])
    images = parquet.load(str(tmp_path))["train"].images
    assert images.shape == (2, 3, 6, 5)
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), colour)
    assert np.array_equal(images[1].numpy(), np.stack([grey] * 3))
    assert parquet.load(str(tmp_path), channels=1)["train"].images.shape == (2, 1, 6, 5)


def test_sixteen_bit_greys_are_scaled(tmp_path: Path) -> None:
    array = (np.arange(30, dtype=np.uint16) * 2184).reshape(6, 5)
    write_parquet(tmp_path / "train-0.parquet", [png(array)], [0], ["a", "b"])
    image = parquet.load(str(tmp_path))["train"].images[0, 0].numpy()
    assert np.allclose(image, array / 65535 * 255, atol=0.51)


def test_dark_sixteen_bit_greys_are_scaled_like_bright_ones(tmp_path: Path) -> None:
    dark = np.full((6, 5), 200, dtype=np.uint16)
    write_parquet(tmp_path / "train-0.parquet", [png(dark)], [0], ["a", "b"])
    assert (parquet.load(str(tmp_path))["train"].images == 1).all()


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cat"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(folder / "0.tiff")
    with pytest.raises(ValueError, match=r"0\.tiff.*floating-point"):
        imagefolder.load(str(tmp_path))


@pytest.mark.parametrize("size", [[0, 5], [5], [5, 5, 5], [2.5, 3]])
def test_sizes_without_sense_are_refused(tmp_path: Path, size: list[int]) -> None:
    write_parquet(tmp_path / "train-0.parquet", [png(random_images(1)[0])], [0])
    with pytest.raises(ValueError, match=r"dataset\.image_size must be"):
        parquet.load(str(tmp_path), image_size=size)  # type: ignore[arg-type]


def test_differing_sizes_need_image_size(tmp_path: Path) -> None:
    images = [png(random_images(1, (6, 5))[0]), png(random_images(1, (7, 5))[0])]
    write_parquet(tmp_path / "train-0.parquet", images, [0, 1])
    with pytest.raises(ValueError, match=r"row 1 has 7x5 pixels.*dataset.image_size"):
        parquet.load(str(tmp_path))
    assert parquet.load(str(tmp_path), image_size=(8, 9))["train"].images.shape == (2, 1, 8, 9)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        ([b"no image"], [0], r"train-0.parquet, row 0 is not an image"),
        (["cut"], [0], r"row 0 is not an image"),
        (["good", "good"], [0, 2], r"row 1: label 2 is out of range for 2 classes"),
        (["good"], [-1], r"row 0: label -1 is out of range"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, images: list[object], labels: list[int], said: str) -> None:
    good = png(random_images(1)[0])
    made = {"good": good, "cut": good[:60]}
    content = [made[i] if isinstance(i, str) else i for i in images]
    write_parquet(tmp_path / "train-0.parquet", content, labels, ["a", "b"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=said):
        parquet.load(str(tmp_path))


def test_what_is_not_a_data_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no"):
        parquet.load(str(tmp_path))
    with pytest.raises(ValueError, match=r"dataset.path"):
        parquet.load(None)
    with pytest.raises(ValueError, match=r"dataset.path"):
        imagefolder.load(None)
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        parquet.load(str(tmp_path))
    pq.write_table(pa.table({"picture_": [1]}), tmp_path / "train-0.parquet")
    with pytest.raises(
        ValueError, match=r"no column image or img .*it has picture_: choose with dataset\.columns"
    ):
        parquet.load(str(tmp_path))


def test_decoded_once_and_never_from_a_damaged_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_parquet(tmp_path / "train-0.parquet", [png(a) for a in random_images(3)], [0, 1, 1])
    cache = str(tmp_path / "cache")
    first = parquet.load(str(tmp_path), cache=cache)["train"]
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "decode_images", lambda *_: pytest.fail("decoded again"))
        second = parquet.load(str(tmp_path), cache=cache)["train"]
    assert torch.equal(first.images, second.images)
    assert (first.source, first.fingerprint) == (second.source, second.fingerprint)
    (file,) = (tmp_path / "cache").glob("*.pt")
    good = bytearray(file.read_bytes())
    for damage in (good[: len(good) // 2], good.replace(bytes(first.images[1].flatten()[:9]), b"123456789")):
        file.write_bytes(damage)
        with caplog.at_level(logging.WARNING):
            third = parquet.load(str(tmp_path), cache=cache)["train"]
        assert "damaged" in caplog.text
        caplog.clear()
        assert torch.equal(third.images, first.images)
    random = np.random.default_rng(0)
    for position in random.integers(0, len(good), 60):
        broken = bytearray(good)
        broken[position] ^= 1 << int(random.integers(8))
        file.write_bytes(broken)
        again = parquet.load(str(tmp_path), cache=cache)["train"]
        assert torch.equal(again.images, first.images) and torch.equal(again.ids, first.ids)
        assert (again.class_names, again.source) == (first.class_names, first.source)
    write_parquet(tmp_path / "train-0.parquet", [png(a) for a in random_images(3, seed=1)], [0, 1, 1])
    assert parquet.load(str(tmp_path), cache=cache)["train"].source != first.source


def test_image_folders(tmp_path: Path) -> None:
    arrays = random_images(4)
    for i, name in enumerate(["cat", "dog", "cat", "dog"]):
        folder = tmp_path / "flat" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(png(arrays[i]))
    part = imagefolder.load(str(tmp_path / "flat"))["train"]
    assert part.labels.tolist() == [0, 0, 1, 1]
    assert part.class_names == ("cat", "dog")
    assert np.array_equal(part.images[1, 0].numpy(), arrays[2])
    for name in ("train", "test"):
        folder = tmp_path / "parts" / name / "cat"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(png(arrays[0]))
    assert set(imagefolder.load(str(tmp_path / "parts"))) == {"train", "test"}
    (tmp_path / "flat" / "cat" / "9.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"9\.png is not an image"):
        imagefolder.load(str(tmp_path / "flat"))


def test_svhn_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (32, 32, 3, 7), dtype=np.uint8)
    labels = np.array([[1], [2], [9], [10], [5], [1], [10]])  # SVHN writes the digit 0 as 10
    for name in ("train", "test"):
        scipy.io.savemat(tmp_path / f"{name}_32x32.mat", {"X": images, "y": labels})
    # torchvision compares the files with the published ones; these stand in for them.
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    part = torchvision_images.load("SVHN", str(tmp_path))["train"]
    assert part.images.shape == (7, 3, 32, 32)
    assert np.array_equal(part.images[3].numpy(), images[..., 3].transpose(2, 0, 1))
    assert part.labels.tolist() == [1, 2, 9, 0, 5, 1, 0]
    assert part.num_classes == 10


def test_a_missing_data_set_says_what_to_put_where(tmp_path: Path) -> None:
    for name in torchvision_images.NAMES:
        with pytest.raises(FileNotFoundError, match=r"train-\*.parquet.*paths.data=") as error:
            torchvision_images.load(name, str(tmp_path / name), download=False)
        assert str(tmp_path / name) in str(error.value)


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    with pytest.raises(FileNotFoundError, match=r"MNIST is not in .*failed"):
        torchvision_images.load("MNIST", str(tmp_path))


@pytest.mark.parametrize(("name", "train", "test"), [("MNIST", 17_435, 10_000)])
def test_real_images(name: str, train: int, test: int) -> None:
    folder = shared_file(f"data/{name.lower()}")
    parts = torchvision_images.load(name, str(folder))
    assert (len(parts["train"]), len(parts["test"])) == (train, test)
    assert parts["train"].image_shape == (1, 28, 28)
    means = [parts["train"].images[parts["train"].labels == d].float().mean() for d in (0, 1)]
    assert means[0] > means[1] > 10, "a zero has more ink than a one"


def test_an_overlap_is_seen_through_other_sizes_files_and_formats(tmp_path: Path) -> None:
    """An attacker's pool of the victim's own images, written to other files and decoded at another size."""
    arrays = random_images(6, (8, 8))
    names = ["a", "b"]
    for name in ("victim", "attacker"):
        (tmp_path / name).mkdir()
    write_parquet(tmp_path / "victim" / "train-0.parquet", [png(a) for a in arrays], [0, 1] * 3, names)
    stolen = [png(a) for a in [*arrays[3:], *random_images(3, (8, 8), seed=1)]]
    write_parquet(tmp_path / "attacker" / "train-0.parquet", stolen, [0] * 6, names)
    cats = tmp_path / "folders" / "cat"
    cats.mkdir(parents=True)
    Image.fromarray(arrays[0]).save(cats / "0.bmp")
    victim = parquet.load(str(tmp_path / "victim"), image_size=(16, 16))["train"]
    attacker = parquet.load(str(tmp_path / "attacker"), image_size=(12, 12), channels=3)["train"]
    assert overlap(victim, parquet.load(str(tmp_path / "victim"))["train"]) == 6
    assert overlap(victim, attacker) == overlap(attacker, victim) == 3
    assert overlap(imagefolder.load(str(tmp_path / "folders"))["train"], victim) == 1


def test_files_of_a_part_agree_on_their_classes(tmp_path: Path) -> None:
    image = png(random_images(1)[0])
    write_parquet(tmp_path / "train-0.parquet", [image], [0], ["a", "b"])
    write_parquet(tmp_path / "train-1.parquet", [image], [0], ["b", "a"])
    with pytest.raises(ValueError, match="name different classes"):
        parquet.load(str(tmp_path))
