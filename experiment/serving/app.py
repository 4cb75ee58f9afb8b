"""The application that serves a cell's victim."""

from __future__ import annotations

import logging
from pathlib import Path

from fastapi import FastAPI
from omegaconf import OmegaConf

from experiment.artifacts.victim import TrainedVictim
from experiment.compose import compose_cell
from experiment.keys import Config
from experiment.serving.answering import answering
from experiment.serving.ledger import server_ledger
from experiment.serving.meter import charged_meter
from experiment.serving.service import make_service, served_toll
from gate.app import create_app
from gate.challenges import load_keyring

log = logging.getLogger(__name__)


def make_app(config: Config) -> FastAPI:
    """The application for a resolved config, with all that it needs loaded from the store or trained.

    Raises InputError naming the option for what cannot be served.
    """
    cell = compose_cell(OmegaConf.create(config), progress=False)
    served_toll(cell)  # refused before anything is trained
    victim = TrainedVictim(cell).get()
    server = config["server"]
    log.info("serving %s, accuracy %.2f %%", config["dataset"]["name"], 100 * victim.accuracy)
    service = make_service(cell, victim)
    return create_app(
        predict=answering(cell, victim),
        meter=charged_meter(cell, victim, service.calibration),
        service=service,
        ledger=server_ledger(server),
        keyring=load_keyring(Path(server["keys"])),
        defended=bool(cell.stack.perturbations),
    )
