"""Answers as they are."""

from __future__ import annotations

from victims.types import Answer


class FirstAnswer:
    """The first of an image's answers; one that asks again for nothing."""

    def __call__(self, answer: Answer, repeats: int) -> Answer:
        """See Recovery."""
        return Answer(answer.values[::repeats])
