"""Images of one's own: folders and Parquet files as others write them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from victims.datasets import imagefolder, parquet

Log = pytest.LogCaptureFixture


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(value))


def test_hidden_folders_are_no_classes_and_what_is_left_out_is_said(tmp_path: Path, caplog: Log) -> None:
    for name in ("cat/1.png", "dog/2.PNG", ".ipynb_checkpoints/1.png", "__MACOSX/cat/._1.png", "cat/._1.png"):
        put(tmp_path / name)
    for name in ("cat/notes.txt", "dog/3.npy", "dog/4.npy", "README"):
        (tmp_path / name).write_text("no image")
    part = imagefolder.load(str(tmp_path))["train"]
    assert part.class_names == ("cat", "dog") and len(part) == 2
    assert "7 files are left out" in caplog.text
    assert "2 .npy, 1 .txt, 3 hidden, 1 no suffix" in caplog.text


def test_links_to_class_folders_are_followed_but_in_no_circle(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog", "owl")):
        put(tmp_path / "elsewhere" / name / "1.png", number)
    data = tmp_path / "data"
    put(data / "ant" / "1.png", 9)
    for name in ("cat", "dog", "owl"):
        (data / name).symlink_to(tmp_path / "elsewhere" / name)
    (data / "cat" / "1-again.png").symlink_to(data / "ant" / "1.png")
    (tmp_path / "elsewhere" / "dog" / "above").symlink_to(data)
    part = imagefolder.load(str(data))["train"]
    assert part.class_names == ("ant", "cat", "dog", "owl") and part.labels.tolist() == [0, 1, 1, 2, 3]


def write(path: Path, names: tuple[str, str] = ("image", "label"), **changed: pa.Array) -> None:
    """A file of two rows, of a column of images, one of labels, and one more."""
    columns = {
        "images": pa.array([{"bytes": png(value), "path": None} for value in (1, 2)]),
        "labels": pa.array([0, 1]),
    } | changed
    table = pa.table({names[0]: columns["images"], names[1]: columns["labels"], "extra": pa.array([1, 2])})
    pq.write_table(table, path)


@pytest.mark.parametrize("names", [("img", "label"), ("img", "fine_label"), ("picture", "labels")])
def test_columns_as_on_the_hub_are_known(names: tuple[str, str], tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00001.parquet", names)
    part = parquet.load(str(tmp_path))["train"]
    assert part.images.flatten(1)[:, 0].tolist() == [1, 2] and part.labels.tolist() == [0, 1]


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ("scan", "finding"))
    with pytest.raises(ValueError, match=r"it has scan, finding, extra: choose with dataset\.columns"):
        parquet.load(str(tmp_path))
    part = parquet.load(str(tmp_path), columns={"image": "scan", "label": "finding"})["train"]
    assert part.labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="no column count"):
        parquet.load(str(tmp_path), columns={"image": "scan", "label": "count"})
    with pytest.raises(ValueError, match="has image and label, not picture"):
        parquet.load(str(tmp_path), columns={"picture": "scan"})


def test_names_of_classes_are_those_of_the_chosen_column(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ("img", "fine_label"))
    table = pq.read_table(tmp_path / "train.parquet")
    features = {"fine_label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    text = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), tmp_path / "train.parquet")
    assert parquet.load(str(tmp_path))["train"].class_names == ("cat", "dog")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_plain_bytes_and_words_are_read(kind: pa.DataType, tmp_path: Path) -> None:
    words = pa.array(["dog", "cat"]).cast(kind)
    write(
        tmp_path / "train.parquet",
        ("png", "class"),
        labels=words,
        images=pa.array([png(7), png(8)], pa.binary()),
    )
    part = parquet.load(str(tmp_path))["train"]
    assert part.class_names == ("cat", "dog") and part.labels.tolist() == [1, 0]
    assert part.images.flatten(1)[:, 0].tolist() == [7, 8]


def test_labels_with_gaps_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", labels=pa.array(["dog", None]))
    with pytest.raises(ValueError, match="without gaps, not string with 1 gaps"):
        parquet.load(str(tmp_path))


def test_a_missing_file_of_several_is_noticed(tmp_path: Path) -> None:
    for number in (0, 2):
        write(tmp_path / f"train-{number:05}-of-00003.parquet")
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 3 files: train-00001-of-00003\.parquet"):
        parquet.load(str(tmp_path))
    write(tmp_path / "train-00001-of-00003.parquet")
    assert len(parquet.load(str(tmp_path))["train"]) == 6
    write(tmp_path / "train-00000-of-00002.parquet")
    with pytest.raises(ValueError, match="mixes files of 2 and of 3"):
        parquet.load(str(tmp_path))


def test_words_have_the_same_numbers_in_each_part_though_one_lacks_a_class(tmp_path: Path) -> None:
    table = {"train": ["bird", "cat", "dog"], "test": ["dog", "cat"]}
    for part, words in table.items():
        images = pa.array([png(10 * place) for place in range(len(words))])
        pq.write_table(pa.table({"image": images, "label": pa.array(words)}), tmp_path / f"{part}-0.parquet")
    parts = parquet.load(str(tmp_path))
    assert parts["train"].class_names == parts["test"].class_names == ("bird", "cat", "dog")
    assert parts["test"].labels.tolist() == [2, 1]


def test_files_in_folders_of_a_class_are_of_the_class(tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/cat/2020/b.png", "train/dog/x/y/c.png", "test/dog/d.png"):
        put(tmp_path / "parts" / name)
    parts = imagefolder.load(str(tmp_path / "parts"))
    assert parts["train"].class_names == ("cat", "dog")
    assert (len(parts["train"]), parts["test"].labels.tolist()) == (3, [1])
    for name in ("cat/a.png", "dog/x/c.png"):
        put(tmp_path / "flat" / name)
    assert imagefolder.load(str(tmp_path / "flat"))["train"].labels.tolist() == [0, 1]


@pytest.mark.parametrize("lost", ["logo.png", "train/logo.png"])
def test_a_file_beside_the_class_folders_is_refused(lost: str, tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "test/cat/b.png", lost):
        put(tmp_path / name)
    with pytest.raises(ValueError, match=r"logo\.png lies neither at"):
        imagefolder.load(str(tmp_path))


@pytest.mark.parametrize("part", ["", "train/"])
def test_a_class_folder_without_images_is_said(part: str, tmp_path: Path, caplog: Log) -> None:
    put(tmp_path / f"{part}cat/a.png")
    (tmp_path / f"{part}dog").mkdir()
    assert imagefolder.load(str(tmp_path))["train"].class_names == ("cat",)
    assert "no image lies in dog" in caplog.text
