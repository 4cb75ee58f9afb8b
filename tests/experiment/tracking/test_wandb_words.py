"""What Weights & Biases would refuse is refused first, by the names of our options and its variables."""

from __future__ import annotations

from typing import Any

import pytest
import wandb

from experiment.tracking.wandb_logger import Wandb


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"project": "a/b"}, "logger.wandb.project=a/b cannot be a project"),
        ({"project": "p" * 129}, "at most 128 characters"),
        (
            {"tags": ["fine", "x" * 65]},
            "logger.wandb.tags: a tag of Weights & Biases has 1 to 64 characters, not 65",
        ),
        ({"tags": [""]}, "not 0"),
    ],
)
def test_options_are_refused(no_account: None, options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        Wandb(directory="outputs", **options)  # type: ignore[arg-type]
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("WANDB_MODE", "nonsense"), ("WANDB_PROJECT", "a b?"), ("WANDB_TAGS", "fine," + "x" * 65)],
)
def test_variables_are_refused(
    no_account: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"^{name}"):
        Wandb(directory="outputs")


@pytest.mark.parametrize("project", ["p" * 128, "with space", "ü.-_"])
def test_what_is_taken_is_taken_by_wandb_too(no_account: None, project: str) -> None:
    Wandb(directory="outputs", project=project, tags=["x" * 64])
    wandb.Settings(project=project, run_tags=("x" * 64,))


@pytest.mark.parametrize("bad", [{"project": "p" * 129}, {"project": "a%b"}, {"run_tags": ("x" * 65,)}])
def test_what_is_refused_is_refused_by_wandb_too(no_account: None, bad: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"128|characters"):
        wandb.Settings(**bad)
