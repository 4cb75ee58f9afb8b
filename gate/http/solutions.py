"""A solution is the body of a redemption."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from gate.challenges import TOKEN_LIMIT
from gate.http.bodies import read_body
from gate.problems import Problem, first_fault
from pow.puzzles.base import MOST_PARTS, NONCES


class Solution(BaseModel):
    """The body of a redemption: a challenge's token, and a nonce for each part of its puzzle."""

    model_config = ConfigDict(strict=True, extra="forbid")

    challenge: str = Field(max_length=TOKEN_LIMIT)
    nonces: list[Annotated[int, Field(ge=0, lt=NONCES)]] = Field(max_length=MOST_PARTS)


REDEEM_LIMIT = 2 * TOKEN_LIMIT + MOST_PARTS * (len(str(NONCES)) + 4)
"""Most bytes of a body with a solution."""


async def read_solution(request: Request) -> Solution:
    """Read the body of a redemption; raise Problem where it is anything else."""
    body = await read_body(request, REDEEM_LIMIT)
    try:
        return Solution.model_validate_json(body)
    except ValidationError as error:
        where, fault = first_fault(error)
        raise Problem("invalid_solution", f"{where or 'body'}: {fault}") from None
