"""The OpenAPI document describes each endpoint with the arguments that this module gives to its route."""

from __future__ import annotations

from typing import Any, get_args

from fastapi.responses import Response

from gate.challenges import TOKEN_LIMIT
from gate.gate import AnswerKind, Service
from gate.problems import PROBLEM_JSON, STATUS
from gate.steps import JSON, NPY
from pow.puzzles import KINDS
from pow.puzzles.base import MOST_PARTS, NONCES

SECURITY: list[dict[str, list[str]]] = [{"apiKey": []}]
SCHEMES = {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key of this gate."}}

ATTEMPT: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body brings the same challenge, and is booked once.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}

PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string"},
    },
}


def predict(service: Service) -> dict[str, Any]:
    """Describe POST /v1/predict: images in, a challenge out."""
    shape = ", ".join(map(str, service.image_shape))
    pixels: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
    for side in reversed(service.image_shape):
        pixels = {"type": "array", "minItems": side, "maxItems": side, "items": pixels}
    images = {"type": "array", "minItems": 1, "maxItems": service.largest_batch, "items": pixels}
    body = {"type": "object", "required": ["images"], "properties": {"images": images}}
    npy = {"type": "string", "format": "binary", "description": f"float32 or uint8 [n, {shape}]"}
    return _endpoint(
        "Ask about images",
        f"At most {service.largest_batch} images [n, {shape}], float32 in [0, 1] or, as npy, uint8 too. The "
        "gate keeps the answer and gives it for the solution of the puzzle.",
        {JSON: {"schema": body}, NPY: {"schema": npy}},
        {402: ("Work is required", PROBLEM_JSON, _challenge())},
        ("malformed", "slow_body", "too_large", "unknown_format", "invalid_images"),
        ("too_many_requests", "too_many_pending", "busy", "in_progress", "key_reused"),
        parameters=[ATTEMPT],
    )


def redeem(service: Service) -> dict[str, Any]:
    """Describe POST /v1/redeem: a solution in, the answer out."""
    return _endpoint(
        "Redeem a solution",
        "Gives the answer for one nonce per part of the challenge's puzzle, and again until it expires.",
        {JSON: {"schema": _solution()}},
        {200: ("The answer", JSON, _answer(service))},
        ("malformed", "slow_body", "too_large", "invalid_solution", "wrong_solution", "forged_challenge"),
        ("other_account", "spent", "expired", "too_many_requests", "busy"),
    )


def ask_account(service: Service) -> dict[str, Any]:
    """Describe POST /v1/accounts: a challenge out."""
    return _endpoint(
        "Ask for an account",
        f"A challenge worth {service.account_seconds:g} seconds of the reference client.",
        None,
        {402: ("Work is required", PROBLEM_JSON, _challenge("account"))},
        ("slow_body", "too_large", "too_many_requests"),
        public=True,
    )


def open_account() -> dict[str, Any]:
    """Describe POST /v1/accounts/redeem: a solution in, an API key out."""
    fields = {"account": {"type": "string"}, "key": {"type": "string"}}
    schema = {"type": "object", "required": sorted(fields), "properties": fields}
    return _endpoint(
        "Open an account",
        "Gives the account's API key for one nonce per part of the challenge's puzzle: the same key, as "
        "often as the solution comes before it expires.",
        {JSON: {"schema": _solution()}},
        {201: ("The account and its key", JSON, schema)},
        ("malformed", "slow_body", "too_large", "invalid_solution", "wrong_solution", "forged_challenge"),
        ("expired", "spent", "too_many_requests", "busy"),
        public=True,
    )


def model() -> dict[str, Any]:
    """Describe GET /v1/model: what is served."""
    whole = {"type": "integer", "minimum": 1}
    fields = {
        "image_shape": {"type": "array", "minItems": 3, "maxItems": 3, "items": whole},
        "classes": whole,
        "class_names": {"type": "array", "items": {"type": "string"}},
        "answers": {"enum": list(get_args(AnswerKind))},
        "largest_batch": whole,
        "puzzle": {"enum": sorted(KINDS)},
        "parts": whole,
    }
    schema = {"type": "object", "required": sorted(fields), "properties": fields}
    return _endpoint("What is served", "", None, {200: ("The model", JSON, schema)}, public=True)


def healthz() -> dict[str, Any]:
    """Describe GET /healthz: whether the gate serves."""
    body = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
    return _endpoint("Whether it serves", "", None, {200: ("It does", JSON, body)}, ("busy",), public=True)


def metrics() -> dict[str, Any]:
    """Describe GET /metrics: counts for Prometheus."""
    text = {"type": "string"}
    return _endpoint("Counts for Prometheus", "", None, {200: ("Counts", "text/plain", text)}, public=True)


def _endpoint(
    summary: str,
    description: str,
    body: dict[str, Any] | None,
    answers: dict[int, tuple[str, str, dict[str, Any]]],
    *reasons: tuple[str, ...],
    public: bool = False,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the arguments of FastAPI's route that document it.

    Args:
        summary: A few words.
        description: Sentences, or "".
        body: Schema of the request's body by media type; None for an endpoint without one.
        answers: For each status a description, a media type and a schema.
        *reasons: Reasons of refusals, in groups.
        public: Whether it needs no API key.
        parameters: What else a request may carry.
    """
    refusals = [reason for group in reasons for reason in group] + ["failure"]
    refusals += [] if public else ["no_key", "unknown_key", "disabled"]
    responses: dict[int | str, Any] = {
        status: {"description": text, "content": {kind: {"schema": schema}}}
        for status, (text, kind, schema) in answers.items()
    }
    extra: dict[str, Any] = {} if public else {"security": SECURITY}
    if parameters:
        extra["parameters"] = parameters
    if body:
        extra["requestBody"] = {"required": True, "content": body}
    return {
        "summary": summary,
        "description": description,
        "status_code": min(answers),
        "response_class": Response,  # it has no media type, so FastAPI adds none to those in `responses`
        "responses": responses | _refusal_responses(refusals),
        "openapi_extra": extra,
    }


def _refusal_responses(reasons: list[str]) -> dict[int | str, Any]:
    """Describe the refusals for these reasons, one response per status."""
    responses: dict[int | str, Any] = {}
    for status in sorted({STATUS[reason] for reason in reasons}):
        named = ", ".join(reason for reason in reasons if STATUS[reason] == status)
        responses[status] = {
            "description": f"Refused: {named}",
            "content": {PROBLEM_JSON: {"schema": PROBLEM}},
        }
    return responses


def _solution() -> dict[str, Any]:
    """Return the schema of a redemption: a challenge, and the nonces that solve it."""
    nonces = {
        "type": "array",
        "maxItems": MOST_PARTS,
        "items": {"type": "integer", "minimum": 0, "maximum": NONCES - 1},
    }
    return {
        "type": "object",
        "required": ["challenge", "nonces"],
        "properties": {"challenge": {"type": "string", "maxLength": TOKEN_LIMIT}, "nonces": nonces},
        "additionalProperties": False,
    }


def _challenge(names: str = "query") -> dict[str, Any]:
    """Return the schema of a problem with a puzzle to solve, which names what it is for."""
    text, number, whole = {"type": "string"}, {"type": "number"}, {"type": "integer"}
    puzzle = {
        "kind": {"enum": sorted(KINDS)},
        "challenge": text,
        "difficulty": number,
        "parts": whole,
        "options": {"type": "object"},
        "expected_hashes": number,
        "largest": text,
    }
    fields = {
        "challenge": text,
        names: text,
        "expires": number,
        "puzzle": {"type": "object", "required": sorted(puzzle), "properties": puzzle},
    }
    properties = PROBLEM["properties"] | fields
    return {"type": "object", "required": sorted(properties), "properties": properties}


def _answer(service: Service) -> dict[str, Any]:
    """Return the schema of the answer to a solution."""
    label = {"type": "integer", "minimum": 0, "maximum": service.classes - 1}
    row = {
        "type": "array",
        "items": {"type": "number"},
        "minItems": service.classes,
        "maxItems": service.classes,
    }
    name, item = ("labels", label) if service.answers == "hard" else ("probabilities", row)
    properties = {name: {"type": "array", "items": item}, "query": {"type": "string"}}
    return {"type": "object", "required": [name, "query"], "properties": properties}
