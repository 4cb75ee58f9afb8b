"""Running the application: its workers, its socket, its log."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import time
from functools import partial
from typing import Any
from urllib.request import urlopen

import uvicorn
from fastapi import FastAPI
from omegaconf import DictConfig, OmegaConf

from experiment.keys import Config
from experiment.serving.app import make_app
from experiment.serving.ledger import first_key
from experiment.serving.options import bind, check_server
from gate.access_log import JsonLines
from gate.metrics import MULTIPROCESS

WORKER_SECONDS = 120
"""How long a worker may be silent, as it is while it loads the model."""


def serve(config: DictConfig) -> None:
    """Serve the config's victim until told to stop."""
    plain: Config = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    server = plain["server"]
    check_server(server)
    with bind(server) as bound:
        if server["workers"] == 1:
            _run(make_app(plain), server, bound)
            return
        with tempfile.TemporaryDirectory(prefix="tollgate-metrics-") as counts:
            os.environ[MULTIPROCESS] = counts
            make_app(plain)  # trains what is missing, once, and finds what is wrong
            _run(partial(_worker_app, plain), server, bound)


def _worker_app(config: Config) -> FastAPI:
    set_up_logs()
    return make_app(config)


def _run(application: Any, server: Config, bound: socket.socket) -> None:
    """Serve an application. The first account is made now that all else is there, so no key is lost."""
    set_up_logs()
    settings = _settings(application, server)
    _announce_once_up(bound, server["account"], first_key(server))
    if server["workers"] > 1:
        from uvicorn.supervisors import Multiprocess

        Multiprocess(settings, sockets=[bound]).run()
    else:
        uvicorn.Server(settings).run(sockets=[bound])


def _settings(application: Any, server: Config) -> uvicorn.Config:
    """The settings of the web server; with several workers, `application` makes one for each."""
    return uvicorn.Config(
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


def _announce_once_up(bound: socket.socket, account: str, key: str | None) -> None:
    """Have a thread say where the server is, once it answers."""
    host, port = bound.getsockname()[:2]
    arguments = (f"http://{host}:{port}", account, key)
    threading.Thread(target=_announce, args=arguments, daemon=True).start()


def _announce(url: str, account: str, key: str | None) -> None:
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


def set_up_logs() -> None:
    """The gate's log as JSON lines on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, level in (("tollgate", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
