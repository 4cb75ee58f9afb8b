"""The application that serves a cell's victim."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import FastAPI
from omegaconf import OmegaConf

from experiment.artifacts.victim import TrainedVictim
from experiment.compose import compose_cell
from experiment.keys import Config
from experiment.serving.answering import answering
from experiment.serving.ledger import count_as_told, server_ledger
from experiment.serving.meter import charged_meter
from experiment.serving.service import make_service, served_toll
from gate.app import Hosting, create_app

log = logging.getLogger(__name__)


def make_app(config: Config, on_stuck: Callable[[], None] | None = None) -> FastAPI:
    """The application for a resolved config, with all that it needs loaded from the store or trained.

    `on_stuck` is called where the model takes too long. Raises InputError naming the option for what cannot
    be served.
    """
    cell = compose_cell(OmegaConf.create(config), progress=False)
    served_toll(cell)  # refused before anything is trained
    server = config["server"]
    ledger = server_ledger(server)
    counted = count_as_told(ledger, cell)
    victim = TrainedVictim(cell).get()
    log.info("serving %s, accuracy %.2f %%", config["dataset"]["name"], 100 * victim.accuracy)
    service = make_service(cell, victim, counted)
    return create_app(
        predict=answering(cell, victim),
        meter=charged_meter(cell, victim, service.calibration),
        service=service,
        ledger=ledger,
        hosting=Hosting(
            model_seconds=server["model_seconds"],
            on_stuck=on_stuck,
            load_target=server["load_target"],
            strangers_a_minute=server["strangers_a_minute"],
            defended=bool(cell.stack.perturbations),
            observed=server["metrics_bind"] is None,
        ),
    )
