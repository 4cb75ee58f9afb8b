"""Every option of every group has the type that its code declares, and says so in a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
import yaml

from storage.options import instantiate
from storage.typed import Bounds, Count, Part, Positive, Share, check_types
from support.commands import ROOT


@dataclass
class Inner:
    """Something with options of its own."""

    share: float = 0.5


@dataclass
class Made:
    """Something with an option of each type."""

    whole: int = 1
    number: float = 1.0
    either: float | None = None
    word: str = "a"
    chosen: Literal["a", "b"] = "a"
    whether: bool = False
    other: Callable[[], int] | None = None
    share: Share = 0.5
    part: Part = 0.5
    count: Count | None = 1
    least: Annotated[float, Bounds(1, above=True)] = 2
    size: tuple[Count, Count] | None = None
    shares: Sequence[Share] = ()
    rates: Mapping[str, Positive] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


def made(**options: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.Made", "inner": {"_target_": f"{__name__}.Inner"}} | options


def function(count: int, name: str | None = None) -> tuple[int, str | None]:
    return count, name


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("whole", 1.5, "a whole number, not 1.5"),
        ("whole", "three", "a whole number, not 'three'"),
        ("whole", True, "a whole number, not True"),
        ("whole", None, "a whole number, not None"),
        ("number", "0,25", "a number, not '0,25'"),
        ("number", math.nan, "a number, not nan"),
        ("number", False, "a number, not False"),
        ("either", "x", "a number or null, not 'x'"),
        ("word", 5, "a word, not 5"),
        ("chosen", "c", "one of a, b, not 'c'"),
        ("whether", "yes", "true or false, not 'yes'"),
        ("whether", {}, "true or false, not {}"),
        ("word", "", "a word, not ''"),
        ("whole", 2**54, "a whole number, of a magnitude of at most 9.0072e+15, not 18014398509481984"),
        ("number", 1e31, "a number, of a magnitude of at most 1e+30, not 1e+31"),
        ("share", 1.1, "a number between 0 and 1, not 1.1"),
        ("share", math.inf, "a number between 0 and 1, not inf"),
        ("share", {"a": 1}, "a number between 0 and 1, not {'a': 1}"),
        ("part", 1, "a number above 0 and below 1, not 1"),
        ("count", 0, "a whole number of at least 1 or null, not 0"),
        ("least", 1, "a number above 1, not 1"),
        ("size", 3, "a list of 2, each a whole number of at least 1 or null, not 3"),
        ("size", [1], "a list of 2, not [1]"),
        ("shares", "a", "a list, each a number between 0 and 1, not 'a'"),
    ],
)
def test_another_type_is_refused(option: str, value: object, rule: str) -> None:
    with pytest.raises(ValueError, match="made") as caught:
        instantiate(made(**{option: value}), "made")
    assert str(caught.value) == f"made.{option} must be {rule}"


def test_what_stands_in_lists_and_groups_is_named() -> None:
    with pytest.raises(ValueError, match=r"^made\.shares\[1\] must be a number between 0 and 1, not 2$"):
        instantiate(made(shares=[0.5, 2]), "made")
    with pytest.raises(ValueError, match=r"^made\.rates\.fast must be a number above 0, not 0$"):
        instantiate(made(rates={"fast": 0}), "made")
    assert instantiate(made(shares=[0, 1], size=[2, 3], rates={"slow": 1}), "made").rates == {"slow": 1}


def test_the_types_that_are_declared_are_taken() -> None:
    options = {"whole": 2, "number": 3, "either": None, "chosen": "b", "whether": True, "other": [1]}
    got = instantiate(made(**options), "made")
    assert (got.whole, got.number, got.either, got.chosen, got.whether) == (2, 3, None, "b", True)
    assert instantiate(made(either=math.inf), "made").either == math.inf


def test_nodes_within_are_checked_by_their_own_names() -> None:
    inner = {"_target_": f"{__name__}.Inner", "share": "half"}
    with pytest.raises(ValueError, match=r"made\.inner\.share must be a number, not 'half'"):
        instantiate(made(inner=inner), "made")
    with pytest.raises(ValueError, match=r"groups\.one\.share must be a number"):
        check_types({"one": inner}, "groups")


def test_functions_and_partial_nodes_are_checked() -> None:
    target = {"_target_": f"{__name__}.function"}
    assert instantiate({**target, "count": 1}, "it") == (1, None)
    for more in ({}, {"_partial_": True}):
        with pytest.raises(ValueError, match=r"it\.count must be a whole number, not 0\.5"):
            instantiate({**target, "count": 0.5, **more}, "it")
    with pytest.raises(ValueError, match=r"it\.name must be a word or null, not 3"):
        check_types({"count": 1, "name": 3}, "it", function)


def test_what_cannot_be_told_is_left_to_the_code() -> None:
    for node in (None, 3, "word", [1]):
        check_types(node, "it")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no.such", "it._target_=no.such cannot be imported: No module named 'no'"),
        ("a b", "it._target_=a b cannot be imported"),
        (5, "it._target_ must be the dotted path of a class or a function, not 5"),
        ("math.pi", "it._target_=math.pi must be a class or a function"),
    ],
)
def test_a_target_that_is_none_is_said(path: object, said: str) -> None:
    with pytest.raises(ValueError, match="it") as caught:
        check_types({"_target_": path}, "it")
    assert said in str(caught.value)


def nodes(node: object, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nodes of a file that are made, with their paths in it."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for name, value in node.items():
            yield from nodes(value, f"{path}.{name}")


def leaves() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every number and every switch in conf/ that is an argument of some code."""
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        if (ROOT / "conf" / "hydra") in file.parents:
            continue  # launchers check their own
        for path, node in nodes(yaml.safe_load(file.read_text()), file.stem):
            for name, value in node.items():
                is_fitted = name == "within_allowance"  # an argument of the fit, not of what is fitted
                if not name.startswith("_") and isinstance(value, int | float) and not is_fitted:
                    yield path, node, name


def test_every_option_in_conf_refuses_another_type() -> None:
    found = list(leaves())
    assert len(found) > 100
    for path, node, name in found:
        check_types({"_target_": node["_target_"], name: node[name]}, path)
        for wrong in ("wrong", math.nan):
            with pytest.raises(ValueError, match=f"{name} must be "):
                check_types({"_target_": node["_target_"], name: wrong}, path)
