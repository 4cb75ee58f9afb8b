"""A saved workspace on Weights & Biases that shows what the report shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from experiment.tracking.arrival import RECORD, noted
from experiment.tracking.figures import VALUES, axes_of, metric
from storage.conf import CONF

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "What a stolen model costs"

TITLES = {"queries": "queries", "seconds": "seconds of queries and work", "money": "USD for solving"}
"""What axes are called that are no privacy costs."""

MEASURES = [path.stem for path in sorted((CONF / "privacy" / "measure").glob("[!_]*.yaml"))]
"""Our privacy measures; a run without one of them leaves its panel empty."""


def title_of(axis: str, column: str) -> str:
    """What an axis is called."""
    return TITLES.get(axis) or f"privacy cost ({column.removeprefix('cost_')})"


def datasets_of(folder: Path) -> list[str]:
    """The data sets of the cells below a sweep's folder, finished or not, whose config can be read."""
    found = set()
    for path in folder.glob("*/config.yaml"):
        with suppress(OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            found.add(str(yaml.safe_load(path.read_text())["dataset"]["name"]))
    return sorted(found)


def group_of(folder: Path) -> str:
    """The group of a sweep's runs: as its cells have noted, or the folder's name."""
    records = (noted(path.parent) for path in sorted(folder.glob(f"*/{RECORD}")))
    groups = [str(arrival.told["group"]) for arrival in records if arrival is not None]
    return groups[0] if groups else folder.resolve().name


class NotSaved(Exception):
    """The server refused to save the workspace."""


def workspace(project: str, entity: str, datasets: Sequence[str], sweep: str | None = None) -> Workspace:
    """The workspace, not saved yet: a section a data set, runs grouped by attack and defense.

    Args:
        project: Of the runs.
        entity: Whose project it is.
        datasets: The data sets that have a section.
        sweep: The group of a sweep's runs, where only those are shown.
    """
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    sections = [
        workspaces.Section(name=dataset, panels=[*_curves(dataset), *_by_strength(dataset)], is_open=True)
        for dataset in datasets
    ]
    sections += [
        workspaces.Section(name="Who pays", panels=_prices(), is_open=True),
        workspaces.Section(
            name="Runs", panels=[panels.RunComparer(layout=panels.Layout(w=24, h=12))], is_open=True
        ),
    ]
    runs = workspaces.RunsetSettings(
        filters=[workspaces.Metric("Group") == sweep] if sweep else [],
        groupby=[workspaces.Config("attack"), workspaces.Config("defense")],
        order=[workspaces.Ordering(workspaces.Config("strength"), ascending=True)],
        pinned_columns=[f"config:{name}" for name in ("attack", "defense", "strength", "seed")],
    )
    return workspaces.Workspace(
        name=f"{NAME}: {sweep}" if sweep else NAME,
        project=project,
        entity=entity,
        sections=sections,
        runset_settings=runs,
    )


def _curves(dataset: str) -> list[Any]:
    """Accuracy on each axis of cost; runs of other data sets have no such metrics, and leave no line."""
    import wandb_workspaces.reports.v2 as panels

    return [
        panels.LinePlot(
            title=f"{dataset}: accuracy against {title_of(axis, column)}",
            x=metric(dataset, axis, column),
            y=[metric(dataset, axis, "accuracy")],
            title_x=title_of(axis, column),
            title_y="accuracy",
            log_x=axis != "queries",
            layout=panels.Layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8),
        )
        for number, (axis, column) in enumerate(axes_of(MEASURES).items())
    ]


def _by_strength(dataset: str) -> list[Any]:
    """Where runs of a data set ended, against the strength of their toll."""
    import wandb_workspaces.reports.v2 as panels

    below = 8 * ((len(axes_of(MEASURES)) + 1) // 2)
    return [
        panels.ScatterPlot(
            title=f"{dataset}: {value} against strength",
            x=panels.Config("strength"),
            y=panels.SummaryMetric(metric(dataset, "queries", value)),
            log_x=True,
            log_y=value == "overhead",
            layout=panels.Layout(x=8 * number, y=below, w=8, h=8),
        )
        for number, value in enumerate(VALUES)
    ]


def _prices() -> list[Any]:
    """What attacker and honest user pay, a point a run."""
    import wandb_workspaces.reports.v2 as panels

    stolen = panels.ScatterPlot(
        title="The price of 90 % of the victim's accuracy over the honest 95 % quantile",
        x=panels.SummaryMetric("price/accuracy_90/queries"),
        y=panels.SummaryMetric("price_over_honest/accuracy_90"),
        log_y=True,
        layout=panels.Layout(y=8, w=12, h=8),
    )
    by_strength = panels.ScatterPlot(
        title="The same against the strength",
        x=panels.Config("strength"),
        y=panels.SummaryMetric("price_over_honest/accuracy_90"),
        log_x=True,
        log_y=True,
        layout=panels.Layout(x=12, y=8, w=12, h=8),
    )
    prices: list[Any] = [
        panels.ScatterPlot(
            title=f"{who}'s overhead against the stolen model's accuracy",
            x=panels.SummaryMetric(f"final/{column}"),
            y=panels.SummaryMetric("final/accuracy"),
            log_x=True,
            layout=panels.Layout(x=12 * number, w=12, h=8),
        )
        for number, (who, column) in enumerate(
            [("The attacker", "overhead"), ("The honest user", "honest_overhead")]
        )
    ]
    return [*prices, stolen, by_strength]


def specification(made: Workspace) -> dict[str, Any]:
    """What would be saved; the package shows it by no public name."""
    view: dict[str, Any] = json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
    return view


def save(project: str, entity: str | None, datasets: Sequence[str], sweep: str | None = None) -> str:
    """Save the workspace for an entity (None: the key's own); returns its address, or raises NotSaved."""
    import requests
    import wandb

    try:
        made = workspace(project, entity or wandb.Api().default_entity or "", datasets, sweep)
        made.save()
    except (wandb.Error, requests.RequestException) as error:
        raise NotSaved(f"the workspace was not saved: {error}") from None
    return str(made.url)
