"""A function of one's own as a victim: asked as it is, in one batch or an image at a time."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from support.commands import ROOT
from victims.architectures.build import build_network
from victims.architectures.function import FunctionNetwork, function_network, is_trainable

IMAGES = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def probabilities(images: np.ndarray) -> np.ndarray:
    scores = np.exp(np.stack([images.mean((1, 2, 3)), images.max((1, 2, 3)), images[:, 0, 0, 0]], 1))
    return scores / scores.sum(1, keepdims=True)


def one_at_a_time(images: np.ndarray) -> np.ndarray:
    if len(images) != 1:
        raise RuntimeError("Got invalid dimensions for input: index 0 Got: 5 Expected: 1")
    return probabilities(images)


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """A module of the user's, importable as `brought`."""
    made = types.ModuleType("brought")
    sys.modules["brought"] = made
    yield made
    del sys.modules["brought"]


@pytest.mark.parametrize("predict", [probabilities, one_at_a_time])
def test_the_softmax_of_its_logits_is_what_it_gives(predict: object, module: types.ModuleType) -> None:
    module.predict = predict  # type: ignore[attr-defined]
    network = build_network(lambda: function_network("brought.predict"), (1, 4, 4), 3, IMAGES.mul(255).byte())
    assert not is_trainable(network)
    assert isinstance(network, FunctionNetwork)  # no normalisation in front
    expected = torch.from_numpy(probabilities(IMAGES.numpy()))
    assert torch.allclose(network(IMAGES).softmax(1), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda images: np.log(probabilities(images)), "victim.architecture.function=brought.predict"),
        (lambda images: probabilities(images)[:, :2], "victim.architecture.function=brought.predict"),
        (lambda images: probabilities(images)[:, 0], "n, classes"),
        (lambda images: probabilities(images)[:, [0, 1, 2, 2]] / 2, "predict|3 probabilities are needed"),
        (lambda images: probabilities(images) * np.nan, "NaN or infinity"),
    ],
)
def test_what_gives_no_probabilities_is_refused(give: object, said: str, module: types.ModuleType) -> None:
    module.predict = give  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=said):
        build_network(lambda: function_network("brought.predict"), (1, 4, 4), 3)


@pytest.mark.parametrize("function", ["no.such", "math.pi", "none.onnx"])
def test_what_is_no_function_is_refused(function: str) -> None:
    with pytest.raises(ValueError, match=r"victim\.architecture\.function="):
        function_network(function)


def test_an_onnx_file(tmp_path: Path) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("Softmax", ["flat"], ["y"])]
    given = helper.make_tensor_value_info("x", kind, [None, 1, 4, 4])
    graph = helper.make_graph(nodes, "g", [given], [helper.make_tensor_value_info("y", kind, [None, 16])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    network = function_network(str(tmp_path / "model.onnx"))
    assert torch.allclose(network(IMAGES).softmax(1), IMAGES.flatten(1).softmax(1), atol=1e-6)
    (tmp_path / "model.onnx").write_bytes(b"cut")
    with pytest.raises(ValueError, match="cannot be read as ONNX"):
        function_network(str(tmp_path / "model.onnx"))


def test_the_option_is_documented() -> None:
    assert "`function`" in (ROOT / "docs" / "options.md").read_text()
