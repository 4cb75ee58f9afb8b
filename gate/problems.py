"""Problems are refusals, with a word for programs and a sentence for people (RFC 9457)."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

PROBLEM_JSON = "application/problem+json"
"""The media type of a refusal."""

STATUS = {
    "malformed": 400,
    "no_key": 401,
    "unknown_key": 401,
    "wrong_solution": 403,
    "forged_challenge": 403,
    "other_account": 403,
    "disabled": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "slow_body": 408,
    "spent": 409,
    "in_progress": 409,
    "expired": 410,
    "too_large": 413,
    "unknown_format": 415,
    "invalid_images": 422,
    "invalid_solution": 422,
    "key_reused": 422,
    "too_many_pending": 429,
    "too_many_requests": 429,
    "failure": 500,
    "busy": 503,
}
"""The HTTP status of each reason."""


class Problem(Exception):
    """A request is refused.

    Args:
        reason: A key of STATUS.
        detail: A sentence for people.
        retry_after: Seconds after which a new try makes sense, if any.
    """

    def __init__(self, reason: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.retry_after = reason, detail, retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.reason]

    def content(self) -> dict[str, Any]:
        """Return the body of the response, application/problem+json."""
        return {
            "type": f"urn:tollgate:{self.reason}",
            "title": self.reason.replace("_", " "),
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Return where in a body the first fault is, such as `nonces.3`, and what is wrong; never the content."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(map(str, fault["loc"])), fault["msg"]
