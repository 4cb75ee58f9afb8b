"""Images from every kind of source, their conversions and their splits."""

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
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from victims.datasets import digits, imagefolder, parquet, photo_patches, torchvision_images
from victims.datasets.images import ImageSet
from victims.datasets.splits import (
    check_disjoint,
    overlap,
    resolve_splits,
    select,
    split,
    with_the_same_classes,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


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


def whole(count: int, seed: int = 0) -> ImageSet:
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed))
    return ImageSet.decoded(images.to(torch.uint8), torch.arange(count) % 3, ("a", "b", "c"))


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
    pq.write_table(pa.table({"picture": [1]}), tmp_path / "train-0.parquet")
    with pytest.raises(ValueError, match="no column image or label"):
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
    folder = SHARED / name.lower()
    if not folder.exists():
        pytest.skip(f"{name} does not lie beside the project")
    parts = torchvision_images.load(name, str(folder))
    assert (len(parts["train"]), len(parts["test"])) == (train, test)
    assert parts["train"].image_shape == (1, 28, 28)
    means = [parts["train"].images[parts["train"].labels == d].float().mean() for d in (0, 1)]
    assert means[0] > means[1] > 10, "a zero has more ink than a one"


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


def test_an_overlap_is_seen_through_other_sizes_files_and_formats(tmp_path: Path) -> None:
    """A thief's pool of the victim's own images, written to other files and decoded at another size."""
    arrays = random_images(6, (8, 8))
    names = ["a", "b"]
    for name in ("victim", "thief"):
        (tmp_path / name).mkdir()
    write_parquet(tmp_path / "victim" / "train-0.parquet", [png(a) for a in arrays], [0, 1] * 3, names)
    stolen = [png(a) for a in [*arrays[3:], *random_images(3, (8, 8), seed=1)]]
    write_parquet(tmp_path / "thief" / "train-0.parquet", stolen, [0] * 6, names)
    cats = tmp_path / "folders" / "cat"
    cats.mkdir(parents=True)
    Image.fromarray(arrays[0]).save(cats / "0.bmp")
    victim = parquet.load(str(tmp_path / "victim"), image_size=(16, 16))["train"]
    thief = parquet.load(str(tmp_path / "thief"), image_size=(12, 12), channels=3)["train"]
    assert overlap(victim, parquet.load(str(tmp_path / "victim"))["train"]) == 6
    assert overlap(victim, thief) == overlap(thief, victim) == 3
    assert overlap(imagefolder.load(str(tmp_path / "folders"))["train"], victim) == 1


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


def test_files_of_a_part_agree_on_their_classes(tmp_path: Path) -> None:
    image = png(random_images(1)[0])
    write_parquet(tmp_path / "train-0.parquet", [image], [0], ["a", "b"])
    write_parquet(tmp_path / "train-1.parquet", [image], [0], ["b", "a"])
    with pytest.raises(ValueError, match="name different classes"):
        parquet.load(str(tmp_path))


def test_split_names() -> None:
    choices = {"paper": {"train": "train", "pool": "test[:5]", "test": "test[5:]"}}
    assert resolve_splits("paper", choices) == choices["paper"]
    assert resolve_splits(choices["paper"], {}) == choices["paper"]
    with pytest.raises(ValueError, match=r"dataset.splits=half.*valid: paper"):
        resolve_splits("half", choices)
    with pytest.raises(ValueError, match="train, pool and test"):
        resolve_splits({"train": "train"}, choices)
