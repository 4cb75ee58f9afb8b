"""A cell's victim behind the gate: what `serve.py` runs."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any
from urllib.request import urlopen

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from omegaconf import DictConfig, OmegaConf
from redis import RedisError
from torch import Tensor, nn

from experiment.artifacts.stages import ServedVictim, Stages
from experiment.components import Cell, InputError, compose_cell
from experiment.defense_stack import Toll
from experiment.keys import Config
from experiment.naming import stack_name
from experiment.pricing.calibrating import calibrate
from experiment.pricing.curve import TraceAccounting
from gate.access_log import JsonLines
from gate.api_keys import new_account
from gate.app import create_app
from gate.challenges import load_keyring
from gate.gate import Service
from gate.ledgers.base import Ledger, Limits
from gate.ledgers.open import open_ledger
from gate.ledgers.sqlite import Synchronous
from gate.metrics import MULTIPROCESS
from privacy.accountant import Accounting
from storage.options import check_choice
from storage.store import Store
from training.fit import predict_logits
from training.recipe import Hardware
from victims.answers import perturbed
from victims.defenses.base import Perturb
from victims.measures.base import Measure, MeasuredVictim

log = logging.getLogger(__name__)

WORKER_SECONDS = 120
"""How long a worker may be silent, as it is while it loads the model."""

SMALLEST = torch.finfo(torch.float32).tiny


class ServedMeter:
    """What a victim's answers reveal under one measure (see gate.meters.GateMeter).

    Where answers are changed, `network` is asked for its own again: those are what is metered.
    """

    def __init__(
        self,
        measure: Measure,
        accounting: Accounting | None,
        hardware: Hardware,
        network: nn.Module | None = None,
    ) -> None:
        self.measure, self.accounting, self.hardware, self.network = measure, accounting, hardware, network

    def reveal(self, images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """See GateMeter."""
        asked = torch.from_numpy(images).to(self.hardware.device)
        if self.network is None:
            log_probs = torch.from_numpy(probabilities).to(asked.device).clamp_min(SMALLEST).log()
        else:
            log_probs = predict_logits(self.network, asked, self.hardware).log_softmax(1)
        columns = self.measure.columns(asked, log_probs)
        if self.accounting is None or self.accounting.is_the_papers:
            return columns["cost"].cpu().numpy().reshape(-1, 1)
        return self.accounting.revealed(columns["log_q"]).cpu().numpy()

    def cost(self, revealed: np.ndarray) -> float:
        """See GateMeter."""
        if self.accounting is None:
            return float(revealed[0])
        return float(self.accounting.costs(torch.from_numpy(revealed)[None]))


def make_app(config: Config) -> FastAPI:
    """The application for a resolved config, with all that it needs loaded from the store or trained."""
    cell = compose_cell(OmegaConf.create(config), progress=False)
    _toll(cell)  # refused before anything is trained
    stages = Stages(cell, Store(Path(config["paths"]["store"])))
    victim = stages.victim()
    server = config["server"]
    log.info("serving %s, accuracy %.2f %%", config["dataset"]["name"], 100 * victim.accuracy)
    return create_app(
        predict=_predict(victim, cell, stages.perturbations(victim)),
        meter=_meter(victim, cell, stages),
        service=_service(victim, cell, stages),
        ledger=_ledger(server),
        keyring=load_keyring(Path(server["keys"])),
    )


def _predict(
    victim: ServedVictim, cell: Cell, perturbations: Sequence[Perturb]
) -> Callable[[np.ndarray], np.ndarray]:
    # From where noise is drawn that no image determines: so no worker repeats what another one drew.
    numbers = itertools.count(secrets.randbits(62))

    def predict(images: np.ndarray) -> np.ndarray:
        asked = torch.from_numpy(images).to(cell.hardware.device)
        logits: Tensor = predict_logits(victim.network, asked, cell.hardware)
        probabilities = logits.log_softmax(1).exp()  # as the oracle in process computes it
        return perturbed(perturbations, asked, probabilities, next(numbers)).cpu().numpy()

    return predict


def _toll(cell: Cell) -> Toll:
    if cell.toll is None:
        name = stack_name(cell.config["defense"])
        raise InputError(f"defense={name} asks for no work, so there is nothing to serve; choose defense=pow")
    if cell.stack.watching is not None:
        raise InputError("serve.py watches no accounts; leave out of defense what has an at_alarm")
    return cell.toll


def _meter(victim: ServedVictim, cell: Cell, stages: Stages) -> ServedMeter:
    """The meter of the measure that is charged, and of no other: the gate needs no more."""
    name = _toll(cell).cost
    measured = MeasuredVictim(victim.network, cell.data.train, cell.hardware, stages.teachers)
    network = victim.network if cell.stack.perturbations else None
    return ServedMeter(cell.measures[name](measured), cell.accounting.get(name), cell.hardware, network)


def _service(victim: ServedVictim, cell: Cell, stages: Stages) -> Service:
    toll, server = _toll(cell), cell.config["server"]
    accounting = TraceAccounting(cell.accounting)
    calibrated = calibrate(toll, stages, victim, accounting, cell.config["seed"])
    scope = cell.config["defense"]["pow"]["scope"]
    if scope == "subnet":
        raise InputError("defense.pow.scope=subnet has no meaning over HTTP; choose account or global")
    try:
        return Service(
            image_shape=cell.data.train.image_shape,
            classes=cell.data.train.num_classes,
            calibration=calibrated.calibration,
            puzzle=toll.pricing.puzzle,
            answers=server["answers"],
            top_k=server["top_k"],
            limits=Limits(server["pending"], server["requests_a_minute"]),
            lifetime=server["lifetime"],
            patience=server["patience"],
            payer=str if scope == "account" else _everyone,
        )
    except ValueError as error:
        raise InputError(f"server.{error}") from error


def _everyone(account: str) -> str:
    return "everyone"


def serve(config: DictConfig) -> None:
    """Serve the config's victim until told to stop."""
    plain: Config = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    server = plain["server"]
    key = _first_key(server)
    if server["workers"] == 1:
        _run(make_app(plain), server, key)
        return
    with tempfile.TemporaryDirectory(prefix="tollgate-metrics-") as counts:
        os.environ[MULTIPROCESS] = counts
        make_app(plain)  # trains what is missing, once, and finds what is wrong
        _run(partial(_worker_app, plain), server, key)


def _worker_app(config: Config) -> FastAPI:
    set_up_logs()
    return make_app(config)


def _run(application: Any, server: Config, key: str | None) -> None:
    set_up_logs()
    settings = uvicorn.Config(
        application,
        host=server["host"],
        port=server["port"],
        factory=server["workers"] > 1,
        workers=server["workers"],
        limit_concurrency=server["connections"],
        access_log=False,
        log_config=None,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=30,
        timeout_worker_healthcheck=WORKER_SECONDS,
    )
    socket = settings.bind_socket()
    socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # or each answer waits 40 ms for more to send
    host, port = socket.getsockname()[:2]
    announce = threading.Thread(
        target=_announce, args=(f"http://{host}:{port}", server["account"], key), daemon=True
    )
    announce.start()
    if server["workers"] > 1:
        from uvicorn.supervisors import Multiprocess

        Multiprocess(settings, sockets=[socket]).run()
    else:
        uvicorn.Server(settings).run(sockets=[socket])


def _announce(url: str, account: str, key: str | None) -> None:
    """Say where the server is, once it answers."""
    while True:
        try:
            with urlopen(f"{url}/healthz", timeout=5):
                break
        except OSError:
            time.sleep(0.1)
    if key is not None:
        print(f"account {account}, API key (shown this once): {key}")
        print(f"a page for people: {url}/#key={key}")
    print(f"Tollgate serves on {url}", flush=True)


def _ledger(server: Config) -> Ledger:
    """The ledger; raises InputError naming the option where it cannot be opened as told."""
    try:
        check_choice("server.synchronous", server["synchronous"], Synchronous)
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        return open_ledger(server["ledger"], server["synchronous"])
    except (ValueError, OSError, RedisError) as error:
        raise InputError(f"server.ledger={server['ledger']}: {error}") from error


def _first_key(server: Config) -> str | None:
    """The key of the first account, where the ledger does not have it yet."""
    ledger = _ledger(server)
    try:
        return new_account(ledger, server["account"])
    except ValueError:
        return None
    finally:
        ledger.close()


def set_up_logs() -> None:
    """The gate's log as JSON lines on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, level in (("tollgate", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
