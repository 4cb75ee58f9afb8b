"""What the server tells about itself, and what it does not: counts, health, log, documents, failures."""

from __future__ import annotations

import io
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gate.http.access_log import JsonLines
from gate.ledgers.base import Unavailable
from gate.protocol import encode
from gate.steps import NPY
from support.commands import run_python
from support.gates.over_http import IMAGES, Server, assert_refused, count, serving, solved
from support.gates.server import CLASSES, IMAGE_SHAPE, predict


def test_a_model_that_fails_leaks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Any] = [
        RuntimeError("the secret of the model"),
        np.zeros((3, CLASSES + 1)),
        np.full((3, CLASSES), np.nan),
    ]

    def failing(images: np.ndarray) -> np.ndarray:
        answer = answers.pop(0) if answers else predict(images)
        if isinstance(answer, Exception):
            raise answer
        return np.asarray(answer)

    with serving(tmp_path, predict=failing) as server:
        for _ in range(3):
            response = server.post("/v1/predict", encode(IMAGES), kind=NPY)
            said = assert_refused(response, 500, "failure")
            assert said["detail"] == "something went wrong here; it is logged"
        assert not answers and server.queries() == 0
        assert count(server, "tollgate_requests", endpoint="/v1/predict", status="500") == 3
        assert count(server, "tollgate_refusals", reason="failure") == 3
    logged = [record for record in caplog.records if record.name == "tollgate.gate" and record.exc_info]
    assert "the secret of the model" in JsonLines().format(logged[0])


def test_counts(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        said = server.ask()
        server.redeem(said["challenge"], solved(said))
        server.redeem(said["challenge"], solved(said))
        server.ask(IMAGES[:1], "bob")
        server.post("/v1/predict", b"", account="")
        server.get("/nowhere")
        response = server.get("/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        predicted = {"endpoint": "/v1/predict"}
        assert count(server, "tollgate_requests", **predicted, status="402") == 2
        assert count(server, "tollgate_requests", **predicted, status="401") == 1
        assert count(server, "tollgate_requests", endpoint="/v1/redeem", status="200") == 2
        assert count(server, "tollgate_requests", endpoint="none", status="404") == 1
        assert count(server, "tollgate_refusals", reason="no_key") == 1
        assert count(server, "tollgate_queries") == 4
        assert count(server, "tollgate_puzzles_issued") == 2
        assert count(server, "tollgate_puzzles_solved") == 1
        assert count(server, "tollgate_work_asked_hashes") == 2 * 16
        assert "tollgate_inference_seconds_count 2.0" in response.text
        assert "alice" not in response.text and "bob" not in response.text


def test_health_is_that_of_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as server:
        response = server.get("/healthz")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})

        def broken(*arguments: object) -> None:
            raise Unavailable("/secret/ledger.sqlite is gone")

        with monkeypatch.context() as patch:
            patch.setattr("gate.ledgers.sqlite.SqliteLedger.check", broken)
            assert "secret" not in str(assert_refused(server.get("/healthz"), 503, "busy"))


def test_the_model_is_told(server: Server) -> None:
    assert server.get("/v1/model").json() == {
        "image_shape": [1, 8, 8],
        "classes": 10,
        "class_names": [],
        "answers": "soft",
        "largest_batch": 4,
        "puzzle": "sha256",
        "parts": 2,
    }


def test_unknown_addresses_are_refused(server: Server) -> None:
    assert_refused(server.get("/nowhere"), 404, "not_found")
    assert_refused(server.get("/page/../../server.py"), 404, "not_found")
    assert_refused(server.get("/v1/predict"), 405, "method_not_allowed")
    assert server.get("/v1/predict").headers["allow"] == "POST"
    assert server.get("/").headers["content-type"].startswith("text/html")


def test_the_log_has_a_line_for_each_request_without_what_it_holds(tmp_path: Path) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("tollgate")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with serving(tmp_path) as server:
            pixels = np.full((1, *IMAGE_SHAPE), 0.123456789, dtype=np.float64).tolist()
            said = server.post("/v1/predict", json.dumps({"images": pixels})).json()
            nonces = [*solved(said)]
            server.redeem(said["challenge"], nonces)
            server.redeem(said["challenge"], [0.123456789])
            server.post("/v1/predict", b"0.123456789")
            server.post("/v1/predict", b"", "", headers={"Authorization": "Bearer tg_0.123456789"})
            keys = server.keys
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()][:5]
    assert [(line["endpoint"], line["status"], line.get("reason")) for line in lines] == [
        ("/v1/predict", 402, None),
        ("/v1/redeem", 200, None),
        ("/v1/redeem", 422, "invalid_solution"),
        ("/v1/predict", 400, "malformed"),
        ("/v1/predict", 401, "unknown_key"),
    ]
    assert [line.get("account") for line in lines] == ["alice"] * 4 + [None]
    for line in lines:
        assert line["level"] == "info" and line["message"] == "request"
        assert 0 <= line["seconds"] < 20 and abs(line["time"] - time.time()) < 60
    secrets = ["0.1234", "tg_", said["challenge"][:20], said["query"], *keys.values(), *map(str, nonces)]
    assert not [secret for secret in secrets if secret in stream.getvalue()]


EXPECTED_STATUSES = """
[[operations]]
include-path = "/v1/predict"
# 402 is what is documented; no schema can say of a text that it is an npy file, or that a key is new.
checks.positive_data_acceptance.expected-statuses = [402, 400, 422]

[[operations]]
include-path = "/v1/redeem"
# No schema can forbid to write 1 as 1.0, which is no nonce; nobody's challenge is a guess.
checks.positive_data_acceptance.expected-statuses = [403, 422]
"""


def test_the_openapi_document_is_true(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(EXPECTED_STATUSES)
    with serving(tmp_path / "gate") as server:
        document = server.get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
        secured = {path: "security" in next(iter(said.values())) for path, said in document["paths"].items()}
        assert [path for path in secured if secured[path]] == ["/v1/predict", "/v1/redeem"]
        program = "from schemathesis.cli import schemathesis; schemathesis()"
        arguments = ["run", f"{server.url}/openapi.json", "--seed", "1", "--max-examples", "15"]
        key = f"Authorization: Bearer {server.keys['alice']}"
        found = run_python("-c", program, *arguments, "--header", key, "--no-color", folder=tmp_path)
        assert found.returncode == 0, found.stdout + found.stderr
        assert "5 selected / 5 total" in found.stdout
        assert server.queries() > 0
