"""A small gate for tests: a linear model, the accounts alice and bob, and work of few hashes.

It is served by a thread, or by a process that can be killed.
"""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI

from gate.api_keys import new_account
from gate.app import Hosting, create_app
from gate.gate import Service
from gate.http.connections import Connections
from gate.ledgers.base import Limits
from gate.ledgers.sqlite import SqliteLedger, Synchronous
from gate.meters import SummedMeter
from gate.model.fitting import Predict, trial
from pow.calibration import LinearExpectation
from pow.calibration.constant import ConstantCalibration
from pow.puzzles import PuzzleSettings, Sha256Puzzle

IMAGE_SHAPE = (1, 8, 8)
CLASSES = 10
LARGEST_BATCH = 4
WEIGHTS = np.random.default_rng(0).normal(size=(64, CLASSES)).astype(np.float32)

FREE = LinearExpectation(slope=0.0, intercept=0.0)
FEW_HASHES = ConstantCalibration(FREE, each=0.001, request_size=LARGEST_BATCH, reference_rate=20_000)
"""Some 20 for every request."""

NO_LIMITS = Limits(pending=10**6, requests_a_minute=10**6)


def predict(images: np.ndarray) -> np.ndarray:
    """The softmax of a fixed linear map; for an image it is the same in any batch, to the last bit."""
    exponentials = np.exp((images.reshape(len(images), -1, 1) * WEIGHTS).sum(1))
    return exponentials / exponentials.sum(1, keepdims=True)


def price(images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """1 and the first pixel: sums are exact where pixels are quarters."""
    return 1 + images[:, 0, 0, 0].astype(np.float64)


METER = SummedMeter(price)


def random_images(count: int, seed: int = 0) -> np.ndarray:
    """Images whose pixels are quarters."""
    quarters = np.random.default_rng(seed).integers(0, 5, (count, *IMAGE_SHAPE))
    return (quarters / 4).astype(np.float32)


def small_service(**changes: Any) -> Service:
    """A service without limits, and with any option changed."""
    options: dict[str, Any] = {
        "image_shape": IMAGE_SHAPE,
        "classes": CLASSES,
        "calibration": FEW_HASHES,
        "puzzle": PuzzleSettings(Sha256Puzzle, parts=2),
        "limits": NO_LIMITS,
    }
    return Service(**options | changes)


def small_ledger(folder: Path, synchronous: Synchronous = "normal") -> SqliteLedger:
    """The ledger of a folder, made where there is none."""
    return SqliteLedger(folder / "ledger.sqlite", synchronous)


def small_app(
    folder: Path,
    predict: Predict = predict,
    synchronous: Synchronous = "normal",
    hosting: Hosting | None = None,
    **changes: Any,
) -> FastAPI:
    """The application over the ledger of a folder."""
    hosting = Hosting(strangers_a_minute=10**6) if hosting is None else hosting
    return create_app(
        after_its_trial(predict), METER, small_service(**changes), small_ledger(folder, synchronous), hosting
    )


def after_its_trial(model: Predict) -> Predict:
    """A model that passes the gate's trial, however slow it is, or often it fails, from then on."""
    tried = trial(IMAGE_SHAPE)
    return lambda images: predict(images) if np.array_equal(images, tried) else model(images)


def add_accounts(folder: Path) -> dict[str, str]:
    """The API keys of alice and bob."""
    with closing(small_ledger(folder)) as ledger:
        return {account: new_account(ledger, account) for account in ("alice", "bob")}


def listening(port: int = 0) -> socket.socket:
    """A socket that accepts connections, on any free port if none is given."""
    socket_ = socket.create_server(("127.0.0.1", port), backlog=512)
    # Accepted connections inherit it. Without it a response waits 40 ms for the client's acknowledgement.
    socket_.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return socket_


def free_port() -> int:
    """A port that nothing listens on."""
    with listening() as probe:
        return int(probe.getsockname()[1])


def make_server(app: FastAPI) -> uvicorn.Server:
    """A server for the application, which logs as the process does."""
    http: Any = Connections(most=1000, an_address=500)
    settings = uvicorn.Config(
        app, http=http, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    return uvicorn.Server(settings)


@contextmanager
def running(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The URL of an application that a thread serves meanwhile."""
    server = make_server(app)
    with listening(port) as socket_:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket_]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.005)
            yield f"http://127.0.0.1:{socket_.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def serve(make_app: Callable[[], FastAPI], port: int) -> None:
    """Serve what `make_app` gives until the process ends."""
    with listening(port) as socket_:
        make_server(make_app()).run(sockets=[socket_])


@contextmanager
def process_serving(make_app: Callable[[], FastAPI], port: int) -> Iterator[BaseProcess]:
    """A process that serves what `make_app` gives on that port; killed at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([uvicorn.__name__, create_app.__module__, SqliteLedger.__module__])
    process = context.Process(target=serve, args=(make_app, port))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait_for(port: int) -> None:
    """Return when something listens on that port."""
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline, "nothing listens"
            time.sleep(0.01)
        else:
            return
