"""What the OpenAPI document says of each endpoint."""

from __future__ import annotations

from typing import Any, get_args

from fastapi.responses import Response

from gate.challenges import TOKEN_LIMIT
from gate.gate import AnswerKind, Service
from gate.problems import STATUS
from gate.protocol import JSON, NPY
from pow.puzzles import KINDS
from pow.puzzles.base import MOST_PARTS, NONCES

PROBLEM_JSON = "application/problem+json"
SECURITY: list[dict[str, list[str]]] = [{"apiKey": []}]
SCHEMES = {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key of this gate."}}

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
    """Images in, a challenge out."""
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
        "answer is kept, and released for the solution of the puzzle.",
        {JSON: {"schema": body}, NPY: {"schema": npy}},
        {402: ("Work is required", PROBLEM_JSON, _challenge())},
        ("malformed", "slow_body", "too_large", "unknown_format", "invalid_images"),
        ("too_many_requests", "too_many_pending", "busy"),
    )


def redeem(service: Service) -> dict[str, Any]:
    """A solution in, the answer out."""
    nonces = {
        "type": "array",
        "maxItems": MOST_PARTS,
        "items": {"type": "integer", "minimum": 0, "maximum": NONCES - 1},
    }
    body = {
        "type": "object",
        "required": ["challenge", "nonces"],
        "properties": {"challenge": {"type": "string", "maxLength": TOKEN_LIMIT}, "nonces": nonces},
        "additionalProperties": False,
    }
    return _endpoint(
        "Redeem a solution",
        "The answer, once, for a nonce for each part of the challenge's puzzle.",
        {JSON: {"schema": body}},
        {200: ("The answer", JSON, _answer(service))},
        ("malformed", "slow_body", "too_large", "invalid_solution", "wrong_solution", "forged_challenge"),
        ("other_account", "spent", "expired"),
    )


def model() -> dict[str, Any]:
    """What is served."""
    whole = {"type": "integer", "minimum": 1}
    said = {
        "image_shape": {"type": "array", "minItems": 3, "maxItems": 3, "items": whole},
        "classes": whole,
        "answers": {"enum": list(get_args(AnswerKind))},
        "largest_batch": whole,
        "puzzle": {"enum": sorted(KINDS)},
        "parts": whole,
    }
    schema = {"type": "object", "required": sorted(said), "properties": said}
    return _endpoint("What is served", "", None, {200: ("The model", JSON, schema)}, public=True)


def healthz() -> dict[str, Any]:
    """Whether it serves."""
    said = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
    return _endpoint("Whether it serves", "", None, {200: ("It does", JSON, said)}, ("busy",), public=True)


def metrics() -> dict[str, Any]:
    """Counts."""
    text = {"type": "string"}
    return _endpoint("Counts for Prometheus", "", None, {200: ("Counts", "text/plain", text)}, public=True)


def _endpoint(
    summary: str,
    description: str,
    body: dict[str, Any] | None,
    answers: dict[int, tuple[str, str, dict[str, Any]]],
    *reasons: tuple[str, ...],
    public: bool = False,
) -> dict[str, Any]:
    """Arguments of FastAPI's route: its documents, all written here."""
    refusals = [reason for group in reasons for reason in group] + ["failure"]
    refusals += [] if public else ["no_key", "unknown_key"]
    responses: dict[int | str, Any] = {
        status: {"description": text, "content": {kind: {"schema": schema}}}
        for status, (text, kind, schema) in answers.items()
    }
    for status in sorted({STATUS[reason] for reason in refusals}):
        named = ", ".join(reason for reason in refusals if STATUS[reason] == status)
        responses[status] = {
            "description": f"Refused: {named}",
            "content": {PROBLEM_JSON: {"schema": PROBLEM}},
        }
    extra: dict[str, Any] = {} if public else {"security": SECURITY}
    if body:
        extra["requestBody"] = {"required": True, "content": body}
    return {
        "summary": summary,
        "description": description,
        "status_code": min(answers),
        "response_class": Response,  # of no media type: those above are all
        "responses": responses,
        "openapi_extra": extra,
    }


def _challenge() -> dict[str, Any]:
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
    said = {
        "challenge": text,
        "query": text,
        "expires": number,
        "seconds": number,
        "puzzle": {"type": "object", "required": sorted(puzzle), "properties": puzzle},
    }
    properties = PROBLEM["properties"] | said
    return {"type": "object", "required": sorted(properties), "properties": properties}


def _answer(service: Service) -> dict[str, Any]:
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
