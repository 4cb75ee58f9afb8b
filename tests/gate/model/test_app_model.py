"""The model's faults stay its own: no other request fails for them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gate.app import Hosting
from gate.protocol import encode
from gate.steps import NPY
from support.gates.over_http import IMAGES, Server, assert_refused, serving
from support.gates.server import add_accounts, predict, random_images, running, small_app

POISON = np.zeros((1, 1, 8, 8), dtype=np.float32)
"""An image that the models here cannot answer."""


def is_poison(images: np.ndarray) -> np.ndarray:
    return np.asarray(~images.reshape(len(images), -1).any(1))


def raising(images: np.ndarray) -> np.ndarray:
    if is_poison(images).any():
        raise RuntimeError("no such image")
    return predict(images)


def not_finite(images: np.ndarray) -> np.ndarray:
    probabilities = predict(images)
    probabilities[is_poison(images)] = np.nan
    return probabilities


@pytest.mark.parametrize("model", [raising, not_finite])
def test_an_input_that_fails_fails_alone(tmp_path: Path, model: object) -> None:
    begun, go = threading.Event(), threading.Event()

    def gathering(images: np.ndarray) -> np.ndarray:
        """The first batch waits, so that all others are one."""
        if not begun.is_set():
            begun.set()
            assert go.wait(20)
        return model(images)  # type: ignore[operator]

    with serving(tmp_path, predict=gathering) as server, ThreadPoolExecutor(5) as threads:
        first = threads.submit(server.ask, IMAGES[:1], "bob")
        assert begun.wait(20)
        honest = [threads.submit(server.ask, random_images(1, seed), "bob") for seed in (1, 2)]
        poisoned = threads.submit(server.post, "/v1/predict", encode(POISON), "alice", NPY)
        go.set()
        assert_refused(poisoned.result(), 500, "failure")
        for each in (first, *honest):
            assert each.result()["reason"] == "work_required"
        assert server.queries("bob") == 3 and server.queries("alice") == 0


def test_a_server_whose_model_hangs_can_be_stopped(tmp_path: Path) -> None:
    go, began = threading.Event(), threading.Event()

    def hanging(images: np.ndarray) -> np.ndarray:
        if is_poison(images).any():
            began.set()
            assert go.wait(30)
        return predict(images)

    keys = add_accounts(tmp_path)
    app = small_app(tmp_path, hanging, hosting=Hosting(model_seconds=0.2))
    try:
        with running(app) as url:
            server = Server(url, keys, tmp_path)
            assert_refused(server.post("/v1/predict", encode(POISON), kind=NPY), 503, "busy")
            assert began.is_set()
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 10, "it does not wait for the model"
        assert app.state.model.batcher.is_abandoned, "so its host knows that a thread is left"
    finally:
        go.set()


def test_a_model_that_hangs_is_told_and_refused(tmp_path: Path) -> None:
    go, told = threading.Event(), threading.Event()

    def hanging(images: np.ndarray) -> np.ndarray:
        if is_poison(images).any():
            assert go.wait(30)
        return predict(images)

    hosting = Hosting(model_seconds=0.3, on_stuck=told.set)
    with serving(tmp_path, predict=hanging, hosting=hosting) as server:
        said = assert_refused(server.post("/v1/predict", encode(POISON), kind=NPY), 503, "busy")
        assert said["detail"] == "the model does not answer"
        assert told.wait(10), "whoever hosts it is told"
        assert_refused(server.post("/v1/predict", encode(IMAGES), "bob", NPY), 503, "busy")
        assert_refused(server.get("/healthz"), 503, "busy")
        assert server.queries() == server.queries("bob") == 0
        go.set()
