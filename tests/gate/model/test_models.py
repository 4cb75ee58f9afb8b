"""A model of one's own is tried before it is served: logits would be charged as if they told nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gate.app import Hosting, create_app
from gate.model.fitting import Predict, fitted
from privacy.distributions import check_probabilities
from support.gates.over_http import serving
from support.gates.server import (
    CLASSES,
    IMAGE_SHAPE,
    METER,
    WEIGHTS,
    predict,
    random_images,
    small_ledger,
    small_service,
)

Rows = Callable[[np.ndarray], np.ndarray]


def logits(images: np.ndarray) -> np.ndarray:
    """What the tests' model has before its softmax."""
    return (images.reshape(len(images), -1, 1) * WEIGHTS).sum(1)


def put_behind_the_gate(model: Predict, folder: Path, defended: bool = False) -> None:
    """Make the application over a model, and close what it has opened."""
    ledger = small_ledger(folder)
    try:
        create_app(model, METER, small_service(), ledger, Hosting(defended=defended))
    finally:
        ledger.close()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (logits, "look like logits; add a softmax"),
        (lambda images: np.log(predict(images)), "look like a log-softmax; add an exponential"),
        (lambda images: 1 / (1 + np.exp(-logits(images))), "look like a sigmoid for each class"),
        (lambda images: 100 * predict(images), "percentages; divide them by 100"),
        (lambda images: predict(images) * np.nan, "NaN or infinity"),
        (lambda images: predict(images)[:, 1:], r"gave \(2, 9\) for \(2, 10\)"),
        (lambda images: predict(images.reshape(-1, 65)), "does not take images float32"),
        (lambda images: np.zeros((3, CLASSES)), "answers 3 rows for an image"),
    ],
)
def test_a_model_without_probabilities_is_refused(model: Rows, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        put_behind_the_gate(model, tmp_path)


def test_probabilities_in_half_precision_are_taken(tmp_path: Path) -> None:
    put_behind_the_gate(lambda images: predict(images).astype(np.float16), tmp_path)


def test_defended_answers_need_not_sum_to_one_but_lie_in_their_range(tmp_path: Path) -> None:
    put_behind_the_gate(lambda images: predict(images).round(1), tmp_path, defended=True)
    with pytest.raises(ValueError, match="logits"):
        put_behind_the_gate(logits, tmp_path, defended=True)


def test_of_many_rows_a_single_wrong_one_is_found() -> None:
    rows = np.full((4, 2), 0.5)
    check_probabilities(rows, "the model")
    rows[2] = -3, 8.25
    with pytest.raises(ValueError, match=r"the model must answer probabilities.*-3 to 8\.25"):
        check_probabilities(rows, "the model")


def test_a_model_of_single_images_answers_many_clients_at_once(tmp_path: Path) -> None:
    asked = []

    def one_at_a_time(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        if len(images) != 1:
            raise RuntimeError("Got invalid dimensions for input: index: 0 Got: 2 Expected: 1")
        return predict(images)

    images = random_images(4)
    model = fitted(one_at_a_time, IMAGE_SHAPE, CLASSES)
    with serving(tmp_path, predict=model) as server, ThreadPoolExecutor(4) as threads:

        def answer(number: int) -> np.ndarray:
            with server.client() as client:
                return client.predict(images[number : number + 2])

        for number, answers in enumerate(threads.map(answer, range(3))):
            np.testing.assert_array_equal(answers, predict(images[number : number + 2]))
    assert set(asked[1:]) == {1}
