"""A sweep beside published figures: what agrees, what differs, what is missing, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from commands.report import main
from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.published.comparison import SHIPPED, as_markdown, compared, read_published

HEAD = "dataset,attack,defense,queries,figure,published,tolerance,source\n"


def written(folder: Path, *rows: str) -> str:
    path = folder / "published.csv"
    path.write_text(HEAD + "".join(f"digits,{row},a paper\n" for row in rows))
    return str(path)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    folder = tmp_path / "cells"
    for seed in range(3):
        write_cell(folder / f"knockoff{seed}", "knockoff", seed, [0.5, 0.60 + seed / 100])
        write_cell(folder / f"copycat{seed}", "copycat", seed, [0.5, 0.7])
    return folder


def test_each_figure_is_marked(cells: Path, tmp_path: Path) -> None:
    rows = {
        "knockoff,pow,200,accuracy,0.62,0.011": "agrees",
        "knockoff,,200,accuracy,0.63,0.001": "agrees",  # within 0.0248, the interval of three seeds
        "knockoff,pow,200,accuracy,0.65,0.03": "differs",
        "knockoff,pow,100,accuracy,0.5,0": "agrees",
        "copycat,pow,200,total_seconds,5,21%": "agrees",
        "copycat,pow,200,total_seconds,5,19%": "differs",
        "copycat,pow,300,accuracy,0.7,0.1": "missing",
        "copycat,none,200,accuracy,0.7,0.1": "missing",
        "jacobian,pow,200,accuracy,0.7,0.1": "missing",
        "copycat,pow,200,cost_pknn,1,9": "missing",
    }
    found = compared(report.load([cells]), read_published(written(tmp_path, *rows)))
    assert found["verdict"].tolist() == list(rows.values())
    assert found["ours"][:3].tolist() == pytest.approx([0.61] * 3)
    assert found["seeds"].tolist() == [3] * 6 + [0] * 4
    text = as_markdown(found)
    assert text.endswith("\n4 agrees, 2 differs, 4 missing\n")
    assert "| digits | knockoff | pow | 200 | accuracy | 0.62 | 0.61 ± 0.025 | agrees |" in text


def test_each_setup_is_compared(tmp_path: Path) -> None:
    for seed in (0, 1):
        for size, accuracy in ((10, 0.5), (20, 0.8)):
            config = {"attack": {"round_size": size}}
            write_cell(tmp_path / f"{seed}{size}", "knockoff", seed, [accuracy], config=config)
    found = compared(
        report.load([tmp_path]), read_published(written(tmp_path, "knockoff,,100,accuracy,0.8,0"))
    )
    assert found["verdict"].tolist() == ["differs", "agrees"]
    assert found["setup"].nunique() == 2 and found["setup"].str.contains("round_size").all()


def test_the_command(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    against = written(tmp_path, "knockoff,pow,200,accuracy,0.62,0.02", "dfme,pow,200,accuracy,0.62,0.02")
    out = tmp_path / "out"
    assert main([str(cells), "--out", str(out), "--against", against]) == 0
    assert "1 agrees, 0 differs, 1 missing" in capsys.readouterr().out
    assert pd.read_csv(out / "reproduction.csv")["verdict"].tolist() == ["agrees", "missing"]
    assert "| 200 | accuracy |" in (out / "reproduction.md").read_text()


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.csv")), ids=lambda path: path.stem)
def test_what_comes_with_the_project_is_complete(path: Path) -> None:
    figures = read_published(path.stem)
    assert len(figures) > 10 and (figures["source"] != "").all()
    assert (figures["margin"] > 0).all() and (figures["queries"] > 0).all()
    accuracies = figures.loc[figures["figure"] == "accuracy", "published"]
    assert accuracies.between(0.1, 1).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is neither a file nor one of dziedzic2022"),
        ("dataset,attack\nmnist,dfme\n", "lacks the columns defense, queries, figure, published"),
        (HEAD + "mnist,dfme,,100,accuracy,high,0.1,a paper\n", "must be numbers"),
        (HEAD + "mnist,dfme,,100,accuracy,0.9,near,a paper\n", "must be numbers"),
        ("", "is no CSV"),
    ],
)
def test_what_is_no_such_file_is_refused(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    path = tmp_path / "own.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main([str(cells), "--out", str(tmp_path / "out"), "--against", str(path)])
    assert stopped.value.code == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
