"""A saved workspace on Weights & Biases that shows what the report shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from experiment.tracking.figures import axes_of
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


class NotSaved(Exception):
    """The server refused to save the workspace."""


def workspace(project: str, entity: str) -> Workspace:
    """The workspace, not saved yet."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    curves: list[Any] = [
        panels.LinePlot(
            title=f"Accuracy against {title_of(axis, column)}",
            x=f"by_{axis}/{column}",
            y=[f"by_{axis}/accuracy"],
            title_x=title_of(axis, column),
            title_y="accuracy",
            log_x=axis != "queries",
            layout=panels.Layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8),
        )
        for number, (axis, column) in enumerate(axes_of(MEASURES).items())
    ]
    sections = [
        workspaces.Section(name="Accuracy against its cost", panels=curves, is_open=True),
        workspaces.Section(name="Who pays", panels=_prices(), is_open=True),
        workspaces.Section(
            name="Runs", panels=[panels.RunComparer(layout=panels.Layout(w=24, h=12))], is_open=True
        ),
    ]
    by_attack = workspaces.RunsetSettings(groupby=[workspaces.Config("attack.name")])
    return workspaces.Workspace(
        name=NAME, project=project, entity=entity, sections=sections, runset_settings=by_attack
    )


def _prices() -> list[Any]:
    """What attacker and honest user pay, a point a run."""
    import wandb_workspaces.reports.v2 as panels

    stolen = panels.ScatterPlot(
        title="The price of 90 % of the victim's accuracy over the honest 95 % quantile",
        x=panels.SummaryMetric("price/accuracy_90/queries"),
        y=panels.SummaryMetric("price_over_honest/accuracy_90"),
        log_y=True,
        layout=panels.Layout(y=8, w=24, h=8),
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
    return [*prices, stolen]


def specification(made: Workspace) -> dict[str, Any]:
    """What would be saved; the package shows it by no public name."""
    view: dict[str, Any] = json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
    return view


def save(project: str, entity: str | None) -> str:
    """Save the workspace for an entity (None: the key's own); returns its address, or raises NotSaved."""
    import requests
    import wandb

    try:
        made = workspace(project, entity or wandb.Api().default_entity or "")
        made.save()
    except (wandb.Error, requests.RequestException) as error:
        raise NotSaved(f"the workspace was not saved: {error}") from None
    return str(made.url)
