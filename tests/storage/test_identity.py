"""Stable ids: what they are read from, and that those of the project stand for ever."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extraction.attacks.knockoff import Knockoff
from storage.identity import identified, identify, stable_id
from support.commands import ROOT
from victims.architectures.resnet import resnet18

OURS = ("extraction", "pow", "privacy", "training", "victims", "experiment", "storage")

NOT_IN_KEYS = ("hydra", "dataset", "query_pool", "trainer", "logger")
"""Groups of conf/ that no key holds: images enter by their content, of the trainer its numerics."""

GOLDEN = {
    *(
        "attack/activethief",
        "attack/copycat",
        "attack/deepfool",
        "attack/dfme@2",
        "attack/dfms_hl",
        "attack/disguide",
        "attack/entropy",
        "attack/entropyrev",
    ),
    *("attack/gap", "attack/greedy", "attack/inoutdist", "attack/jacobian@2", "attack/jacobian_tr@2"),
    *("attack/knockoff", "attack/knockoff_adaptive@2", "attack/maxprivacy", "attack/maze@2"),
    *(
        "attack/mixmatch",
        "attack/pretrained",
        "attack/standard",
        "attack/swiftthief",
        "attack/worstcase",
        "attack/worstcase_pate",
    ),
    *(
        "recipe/augmentation",
        "recipe/contrastive",
        "recipe/data_free",
        "recipe/mixmatch",
        "recipe/supervised",
    ),
    *("network/lenet5", "network/mnistnet", "network/resnet8", "network/resnet10", "network/resnet18"),
    *("network/resnet34", "network/torchvision", "network/function"),
    *("defense/adaptive_misinformation", "defense/gaussian_noise", "defense/grad_redirect", "defense/hoda"),
    *("defense/label_only", "defense/mad@2"),
    *("defense/modelguard_w", "defense/pow", "defense/prada", "defense/queen", "defense/reverse_sigmoid"),
    *("defense/rounding", "defense/top_k", "misinformer", "queen_networks", "subclassifiers", "surrogate"),
    *("measure/entropy", "measure/gap", "measure/pate", "measure/pknn"),
    *("calibration/constant", "calibration/fitted", "calibration/linear", "calibration/paper"),
    *("calibration/progressive", "bound", "gain/coverage", "gain/excess", "gain/volume", "buckets"),
    *("puzzle", "puzzle/argon2id", "puzzle/hashcash", "puzzle/sha256", "hardware", "honest_users"),
    *("population", "stratum"),
}
"""Every id. One that is missing here was changed, and orphans what stores hold; a new one is added."""


def named(node: Any) -> Iterator[str]:
    """Each dotted path that a node names: its `_target_`, and a puzzle's `kind`."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("_target_", "kind") and isinstance(value, str) and "." in value:
                yield value
            yield from named(value)


def paths() -> set[str]:
    """Each path that can be in a key."""
    conf = ROOT / "conf"
    files = [path for path in conf.rglob("*.yaml") if path.relative_to(conf).parts[0] not in NOT_IN_KEYS]
    nodes = [yaml.safe_load(path.read_text()) or {} for path in files]
    for node in nodes:
        node.pop("hydra", None)
    return {path for node in nodes for path in named(node)}


@pytest.mark.parametrize("path", sorted(paths()))
def test_all_of_ours_has_an_id(path: str) -> None:
    assert path.split(".")[0] not in OURS or identify(path) != path


def test_no_two_have_one_id_and_none_has_changed() -> None:
    by_id = defaultdict(set)
    for path in paths():
        by_id[identify(path)].add(path)
    assert {name: found for name, found in by_id.items() if len(found) > 1} == {}
    assert set(by_id) == GOLDEN


class Mine(Knockoff):
    """An attack of one's own."""


@functools.wraps(resnet18)
def wider(*arguments: Any) -> Any:
    """Not the network that it wraps."""


def test_an_id_is_of_the_object_itself_alone() -> None:
    assert identify("extraction.attacks.knockoff.Knockoff") == "attack/knockoff"
    assert identify(f"{__name__}.Knockoff") == "attack/knockoff", "by whatever path"
    assert identify(f"{__name__}.Mine").startswith(f"{__name__}.Mine@")
    assert identify(f"{__name__}.wider").startswith(f"{__name__}.wider@")
    assert identify("torch.nn.Linear") == "torch.nn.Linear"
    assert identify("there.is.nothing") == "there.is.nothing"


def test_ids_stand_for_paths_at_every_depth() -> None:
    network = {"_target_": "victims.architectures.resnet.resnet18", "_partial_": True}
    node = {"a": [{"b": network}], "c": "victims.architectures.resnet.resnet18"}
    assert identified(node) == {"a": [{"b": network | {"_target_": "network/resnet18"}}], "c": node["c"]}


def test_a_moved_file_keeps_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere.py").write_text(
        "from storage.identity import stable_id\n@stable_id('attack/moved')\nclass Moved: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert identify("elsewhere.Moved") == "attack/moved"


def test_code_that_is_still_written_has_another_key_once_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "still_written.py"
    module.write_text("class Mine: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    first = identify("still_written.Mine")
    identify.cache_clear()
    assert identify("still_written.Mine") == first
    module.write_text("class Mine:\n    changed = True\n")
    identify.cache_clear()
    assert identify("still_written.Mine") != first


def test_the_decorator_gives_back_what_it_names() -> None:
    def function() -> int:
        return 7

    assert stable_id("seven")(function) is function
