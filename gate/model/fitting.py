"""A model behind the gate is any function from images to probabilities; it is tried before it is served."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from privacy.distributions import check_probabilities

log = logging.getLogger("tollgate.gate")

Predict = Callable[[np.ndarray], np.ndarray]
"""Takes images in [0, 1], float32 `[n, c, h, w]`, and returns probabilities `[n, classes]`."""


def trial(image_shape: tuple[int, ...], count: int = 2) -> np.ndarray:
    """Return images of random pixels that a model is tried with, float32 `[count, c, h, w]`."""
    return np.random.default_rng(0).random((count, *image_shape), dtype=np.float32)


def fitted(predict: Predict, image_shape: tuple[int, ...], classes: int, defended: bool = False) -> Predict:
    """Return a model that takes any number of images, and whose every answer is checked, after a trial.

    A model that was exported with a fixed batch of one is asked an image at a time.

    Args:
        predict: The model.
        image_shape: Shape of an image, `[c, h, w]`.
        classes: Number of classes.
        defended: Whether defenses change the answers, which need not sum to 1 then.

    Raises:
        ValueError: It takes no such images, or answers no probabilities (see `check_probabilities`).
    """
    images = trial(image_shape)
    takes_many = _takes_many(predict, images)

    def checked(images: np.ndarray) -> np.ndarray:
        ones = [images] if takes_many else np.split(images, len(images))
        answers = np.concatenate([np.asarray(predict(one), dtype=np.float32) for one in ones])
        expected = (len(images), classes)
        if answers.shape != expected:
            raise ValueError(f"the model gave {answers.shape} for {expected} images and classes")
        check_probabilities(answers, "the model", sum_to_one=not defended)
        return answers

    checked(images)
    return checked


def _takes_many(predict: Predict, images: np.ndarray) -> bool:
    """Whether a model takes several images at once; raises ValueError if it does not even take one."""
    try:
        if len(predict(images)) == len(images):
            return True
        said = "answers another number of rows"
    except Exception as error:  # the model is anybody's function, which raises anything
        said = str(error)
    shape = list(images[:1].shape)
    try:
        rows = len(predict(images[:1]))
    except Exception as error:
        raise ValueError(f"the model does not take images float32 {shape}: {error}") from error
    if rows != 1:
        raise ValueError(f"the model answers {rows} rows for an image, where one is needed")
    log.warning("the model takes one image at a time, and is asked so; given two it said: %s", said)
    return False
