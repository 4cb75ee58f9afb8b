"""What deploy/ holds says what the gate understands."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from experiment.serving.options import check_server
from gate.http.metrics import Metrics
from support.commands import ROOT

DEPLOY = ROOT / "deploy"


def composed(arguments: list[str], folder: Path) -> dict[str, Any]:
    """The server's options with the overrides of a command, beside a ledger in the folder."""
    assert arguments[0] == "serve"
    overrides = [it for it in arguments[1:] if not it.startswith(("hydra.", "server.ledger=redis"))]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("serve", [*overrides, f"server.ledger={folder}/ledger.sqlite"])
    options: dict[str, Any] = {str(name): value for name, value in config.server.items()}
    return options | {"trusted_proxies": list(config.server.trusted_proxies)}


def service() -> list[str]:
    """The arguments of the unit's command."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "tollgate.service")
    return shlex.split(unit["Service"]["ExecStart"].replace("\\\n", " "))[1:]


def image() -> list[str]:
    """The arguments of the image's command."""
    (command,) = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    arguments: list[str] = json.loads(command)
    return arguments


def containers() -> list[str]:
    """The arguments of the gate's container, with the variables' defaults."""
    arguments = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["gate"]["command"]
    return [re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", argument) for argument in arguments]


@pytest.mark.parametrize("arguments", [service, image, containers])
def test_the_commands_are_ones_that_the_gate_takes(arguments: Any, tmp_path: Path) -> None:
    server = composed(arguments(), tmp_path)
    check_server(server)
    if arguments is not image:
        assert server["trusted_proxies"] and server["metrics_bind"], "it is meant for behind a proxy"


def test_redis_keeps_what_it_is_told() -> None:
    command = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["redis"]["command"]
    for needed in (
        "--appendonly yes",
        "--appendfsync always",
        "--maxmemory-policy noeviction",
        "--requirepass",
    ):
        assert needed in command


def test_the_dashboard_shows_counts_that_there_are() -> None:
    metrics = Metrics()
    metrics.requests.labels("/", "200").inc()
    metrics.refusals.labels("spent").inc()
    there = set(re.findall(r"^(tollgate_\w+)", metrics.exposition().decode(), flags=re.MULTILINE))
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    shown = {
        name
        for panel in panels
        for it in panel["targets"]
        for name in re.findall(r"tollgate_\w+", it["expr"])
    }
    assert shown <= there
    counters = {name for name in there if name.endswith("_total")}
    assert counters <= shown, "each counter is on the dashboard"
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_proxys_variables_are_set_where_it_is_used() -> None:
    template = (DEPLOY / "nginx.conf.template").read_text()
    variables = set(re.findall(r"\$\{(\w+)\}", template))
    nginx = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["nginx"]
    assert set(nginx["environment"]) == variables
    page = (ROOT / "docs" / "deploying.md").read_text()
    assert all(f"{name}=" in page for name in variables)
    assert "X-Forwarded-For $remote_addr" in template, "what a client claims is not passed on"
