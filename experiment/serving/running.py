"""Running the application: its sockets, its log, and the processes that serve it."""

from __future__ import annotations

import logging
import os
import resource
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from functools import partial
from urllib.request import ProxyHandler, build_opener

import uvicorn
from fastapi import FastAPI
from omegaconf import DictConfig, OmegaConf

from experiment.keys import Config
from experiment.serving.app import make_app
from experiment.serving.ledger import first_key
from experiment.serving.options import bind, check_server, split_address, url_of
from experiment.serving.workers import supervise
from gate.app import observing_app
from gate.http.access_log import JsonLines
from gate.http.connections import Connections
from gate.http.metrics import MULTIPROCESS
from storage.errors import InputError

BACKLOG = 128
"""Connections that wait to be accepted."""

GRACE_SECONDS = 10
"""Seconds that requests have to end once the server is told to stop."""

OTHER_FILES = 300
"""Files that a process opens beside its connections: the ledger, logs, connections about to be refused."""

STUCK = 70
"""Exit status of a process whose model takes too long."""


def serve(config: DictConfig) -> None:
    """Serve the config's victim until told to stop."""
    plain: Config = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    server = plain["server"]
    check_server(server)
    allow_files(server["connections"])
    with ExitStack() as stack:
        bound = stack.enter_context(bind(server["host"], server["port"]))
        observed = _observed(server, stack)
        if server["workers"] > 1:
            os.environ[MULTIPROCESS] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="tollgate-metrics-")
            )
        app = make_app(plain)  # trains what is missing, and finds what is wrong, once for all workers
        set_up_logs()
        if observed is not None:
            _observe(app, observed)
        _announce_once_up(bound, server["account"], first_key(server))
        if server["workers"] > 1:
            del app
            supervise(partial(_work, plain, bound), server["workers"], GRACE_SECONDS)
        else:
            _run(app, server, bound)


def _work(config: Config, bound: socket.socket) -> None:
    """Serve in a process of its own, which ends where the model is stuck: another one is begun then."""
    set_up_logs()
    _run(make_app(config, on_stuck=partial(os._exit, STUCK)), config["server"], bound)


def _run(app: FastAPI, server: Config, bound: socket.socket) -> None:
    """Serve an application until told to stop."""
    uvicorn.Server(settings_of(app, server)).run(sockets=[bound])
    if app.state.model.batcher.is_abandoned:
        os._exit(STUCK)  # else Python waits for the thread that the model is stuck in


def allow_files(connections: int) -> None:
    """Let this process open a file for each connection; raises InputError where the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise InputError(
            f"server.connections={connections} takes {needed:,} open files, and this process may have "
            f"{hard:,} (ulimit -n)"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def settings_of(app: FastAPI, server: Config) -> uvicorn.Config:
    """The settings of the web server."""
    trusted = frozenset(server["trusted_proxies"])
    return uvicorn.Config(
        app,
        http=Connections(server["connections"], server["connections_an_address"], trusted),  # type: ignore[arg-type]
        ws="none",
        proxy_headers=bool(trusted),
        forwarded_allow_ips=sorted(trusted),
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _observed(server: Config, stack: ExitStack) -> socket.socket | None:
    """The socket that shows the counts, where they have an address of their own."""
    address = server["metrics_bind"]
    if address is None:
        return None
    return stack.enter_context(bind(*split_address(address), f"server.metrics_bind={address}"))


def _observe(app: FastAPI, bound: socket.socket) -> None:
    """Show the counts of an application in a thread."""
    settings = uvicorn.Config(observing_app(app), ws="none", access_log=False, log_config=None)
    run = uvicorn.Server(settings).run
    threading.Thread(target=run, kwargs={"sockets": [bound]}, daemon=True).start()


def _announce_once_up(bound: socket.socket, account: str, key: str | None) -> None:
    """Have a thread say where the server is, once it answers."""
    threading.Thread(target=_announce, args=(url_of(bound), account, key), daemon=True).start()


def _announce(url: str, account: str, key: str | None) -> None:
    own = build_opener(ProxyHandler({}))  # whatever proxy the environment names is for other hosts
    while True:
        try:
            with own.open(f"{url}/healthz", timeout=5):
                break
        except OSError:
            time.sleep(0.1)
    if key is not None:
        print(f"account {account}, API key (shown this once): {key}")
        print(f"a page for people: {url}/#key={key}")
    else:
        print(f"account {account} has its key; tollgate accounts add NAME makes another account")
    print(f"Tollgate serves on {url}", flush=True)


def set_up_logs() -> None:
    """The gate's log as JSON lines on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, level in (("tollgate", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
