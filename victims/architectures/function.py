"""Any function from images to probabilities as a victim: it has no weights to train and no gradients."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from privacy.distributions import check_probabilities
from storage.identity import stable_id

Predict = Callable[[np.ndarray], np.ndarray]
"""Takes images in [0, 1], float32 `[n, c, h, w]`, and returns probabilities `[n, classes]`."""


class FunctionNetwork(nn.Module):
    """Gives the logarithms of a function's probabilities as logits, whose softmax they are again.

    Args:
        predict: The function; one that takes a single image at a time is asked so.
        name: What it is called, for error messages.
    """

    def __init__(self, predict: Predict, name: str) -> None:
        super().__init__()
        self.predict, self.name = predict, name
        self._takes_many: bool | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float32 `[n, classes]`; raises ValueError for what are no probabilities."""
        given = images.detach().float().cpu().numpy()
        if self._takes_many is None:
            self._takes_many = self._tried(given)
        batches = [given] if self._takes_many else np.split(given, len(given))
        answers = np.concatenate([np.asarray(self.predict(batch), dtype=np.float32) for batch in batches])
        if answers.ndim != 2 or len(answers) != len(given):
            raise ValueError(f"{self.name} answers {answers.shape} for {len(given)} images, not [n, classes]")
        check_probabilities(answers, self.name)
        return torch.from_numpy(answers).clamp_min(torch.finfo(torch.float32).tiny).log().to(images.device)

    def _tried(self, images: np.ndarray) -> bool:
        """Whether the function takes several images at once."""
        try:
            return len(self.predict(images)) == len(images)
        except Exception:  # it is anybody's function; what it says of one image is said where it is asked
            return False


@stable_id("network/function")
def function_network(function: str) -> nn.Module:
    """Make a network of a function.

    Args:
        function: Its dotted path, such as `module.predict`, or an ONNX file.

    Raises:
        ValueError: There is no such function or file, or the package onnxruntime is missing.
    """
    option = f"victim.architecture.function={function}"
    found = _of_onnx if Path(function).suffix == ".onnx" else _of_path
    return FunctionNetwork(found(function, option), option)


def is_trainable(network: nn.Module) -> bool:
    """Whether a network has weights, and so gradients; a function has none."""
    return any(True for _ in network.parameters())


def _of_path(path: str, option: str) -> Predict:
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{option} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{option} is no function but a {type(found).__name__}")
    predict: Predict = found
    return predict


def _of_onnx(path: str, option: str) -> Predict:
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ValueError(f"{option} needs the package onnxruntime: pip install onnxruntime") from error
    try:
        session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has errors of its own for each kind of damage
        raise ValueError(f"{option} cannot be read as ONNX: {error}") from error
    name = session.get_inputs()[0].name

    def predict(images: np.ndarray) -> np.ndarray:
        answer: np.ndarray = session.run(None, {name: images})[0]
        return answer

    return predict
