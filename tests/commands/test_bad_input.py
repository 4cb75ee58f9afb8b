"""What is wrong with the input is said in one clear sentence, before anything is trained.

tests/test_cell.py shows how such errors look on the command line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from experiment.compose import compose_cell
from storage.errors import InputError
from support.commands import ROOT

CONF = ROOT / "conf"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["attack.budget=0"], "attack.budget must be a whole number of at least 1"),
        (["attack.answers=loud"], "attack.answers must be one of soft, topk, hard"),
        (["attack=dfme", "attack.answers=hard"], "attack.answers=hard is not enough for this attack"),
        (["attack=worstcase", "attack.knows=[]"], "attack.knows must name cost for this attack"),
        (["dataset.splits=paper"], "valid: default"),
        (["seed=-1"], "seed must be a whole number of at least 0, not -1"),
        (["seed=abc"], "seed must be a whole number of at least 0, not 'abc'"),
        (["attack.knows=[foo]"], "attack.knows[0] must be one of cost, defense, not 'foo'"),
        (["attack.knows=cost"], "attack.knows must be a list, each one of cost, defense, not 'cost'"),
        (["attack.warm_start=maybe"], "attack.warm_start must be true or false, not 'maybe'"),
        (["attack.rule._target_=torch.nn.Flatten"], "attack.rule must name a class that derives from Attack"),
        (["dataset.request_seconds=-1"], "dataset.request_seconds must be a number above 0, not -1"),
        (["privacy.measures.pate.sigma=-1"], "privacy.measures.pate.sigma must be a number above 0"),
        (["privacy.measures.pate.sigma=x"], "privacy.measures.pate.sigma must be a number above 0, not 'x'"),
        (
            ["privacy.measures.pate.teachers=0"],
            "teachers must be a whole number of at least 1 or null, not 0",
        ),
        (["privacy.measures.pate.teachers=801"], "teachers must be a whole number between 1 and 800"),
        (["privacy.measures.pate.at_once=0"], "pate.at_once must be a whole number of at least 1, not 0"),
        (["privacy.measures.pknn.k=0"], "privacy.measures.pknn.k must be a whole number of at least 1"),
        (["victim.seed=x"], "victim.seed must be a whole number of at least 0, not 'x'"),
        (
            ["victim.recipe.batch_size=x"],
            "victim.recipe.batch_size must be a whole number of at least 1",
        ),
        (["dataset.request_seconds=nan"], "dataset.request_seconds must be a number above 0, not nan"),
        (
            ["dataset.splits={train: 'train[:900]', pool: 'train[800:]', test: 'train[:9]'}"],
            "dataset.allow_overlap=true",
        ),
        (["pow_calibration.strength=-1"], "pow_calibration.strength must be a number above 0"),
        (
            ["pow_calibration.within_allowance=x"],
            "within_allowance must be a number of at least 0 and below 1",
        ),
        (["victim.recipe.epochs=1.5"], "victim.recipe.epochs must be a whole number of at least 1, not 1.5"),
        (
            ["substitute.recipe.learning_rate=nan"],
            "substitute.recipe.learning_rate must be a number above 0, not nan",
        ),
        (
            ["victim.recipe.momentum=1"],
            "momentum must be a number of at least 0 and below 1, not 1",
        ),
        (["trainer.batch_size=0.5"], "trainer.batch_size must be a whole number of at least 1, not 0.5"),
        (
            ["privacy.measures.pate.sigma=no"],
            "measures.pate.sigma must be a number above 0, not 'no'",
        ),
        (["attack.evade=hide"], "attack.evade must be one of none, pad, split, best, not 'hide'"),
        (["defense.pow.account_seconds=-1"], "defense.pow.account_seconds must be a number of at least 0"),
        (["attack.give_up_usd=-1"], "attack.give_up_usd must be a number above 0 or null, not -1"),
        (
            ["puzzle=argon2id", "pow_calibration=paper"],
            "choose puzzle=hashcash or sha256, or another pow_calibration",
        ),
        (["puzzle.parts=0"], "puzzle.parts must be a whole number between 1 and 4096, not 0"),
        (["+puzzle.options.memory=9"], "puzzle.options: sha256 has no memory"),
        (["hardware=h100", "puzzle=argon2id", "pow_calibration=linear"], "h100 has no hash rate for"),
        (["+defense@foo=rounding"], "foo is a defense outside of `defense`, where none acts"),
        (["+defense@defense.rounding=top_k"], "defense.rounding is the defense top_k by the name of another"),
        (["privacy.accounting=averaged"], "privacy.accounting must be one of summed, composed, paired"),
        (["privacy.bound=loose"], "privacy.bound must be one of data_dependent, data_independent, tightest"),
        (["privacy.conversion=exact"], "privacy.conversion must be one of classical, canonne_kamath_steinke"),
        (["defense.pow.scope=city"], "defense.pow.scope must be one of account, subnet, global"),
        (["defense.pow.cost=price"], "defense.pow.cost must be one of pate, pknn, entropy, gap"),
        (["network@victim=lenet5"], "lenet5 takes images of 28x28 pixels or more"),
        (["victim.checkpoint=nowhere.pt"], "victim.checkpoint=nowhere.pt"),
        (["dataset=mnist", "paths.data=/nonexistent/data"], "MNIST is not in"),
        (["dataset=parquet"], "set dataset.path"),
        (["query_pool.part=foo"], "query_pool.part must be pool, not 'foo'"),
        (["pow_calibration=paper", "+pow_calibration.expected=abc"], "must be a group of options, not 'abc'"),
        (["dataset.transfer=null"], "dataset.transfer must be a group of options, not None"),
        (["logger.wandb.entity=5"], "logger.wandb.entity must be a word or null, not 5"),
        (["logger.wandb.tags=[1]"], "logger.wandb.tags[0] must be a word, not 1"),
        (
            ["network@victim=torchvision", "victim.architecture.name=vit_b_16"],
            "cannot take images of shape (1, 16, 16): Wrong image height",
        ),
        (["victim.architecture=5"], "architecture must be a group of options with a _target_, not 5"),
        (["query_pool.source=5"], "query_pool.source must be a group of options or null, not 5"),
        (["+privacy.measures.foo=3"], "privacy.measures.foo must be a group of options with a _target_"),
        (["+victim.sed=3"], "victim has no 'sed'; did you mean victim.seed? Valid: architecture, checkpoint"),
        (["+pow_calibration.strenth=3"], "did you mean pow_calibration.strength?"),
        (["+trainer.foo=3"], "trainer has no 'foo'; valid: accelerator"),
        (
            ["pow_calibration=fitted", "pow_calibration.users.count=40"],
            "pow_calibration.users.count must be at least 59 for a share of 0.95, not 40",
        ),
        (["+dataset.transfer.step=3"], "did you mean dataset.transfer.steps?"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_work_is_refused(tmp_path: Path, overrides: list[str], said: str) -> None:
    small = ["victim.recipe.epochs=1", "attack.budget=300", f"paths.store={tmp_path}/store"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*small, *overrides])
    with pytest.raises(InputError) as error:
        compose_cell(config, progress=False)
    assert said in str(error.value)
    assert not (tmp_path / "store" / "victims").exists()


@pytest.mark.parametrize("calibration", ["progressive", "fitted", "paper"])
def test_a_handful_of_test_images_is_too_few_for_a_toll(tmp_path: Path, calibration: str) -> None:
    random = np.random.default_rng(0)
    for part, images in {"train": 20, "test": 9}.items():
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for each in range(images):
                Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{each}.png")
    own = ["dataset=imagefolder", f"dataset.path={tmp_path}/data", "attack=random", "attack.budget=5"]
    small = [*own, "network@victim=resnet8", "network@substitute=resnet8", f"paths.store={tmp_path}/store"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*small, "defense=pow", f"pow_calibration={calibration}"])
        free = compose("config", [*small, "defense=none"])
    with pytest.raises(InputError, match="20 images of honest users at least, not to 18: these are the test"):
        compose_cell(config, progress=False)
    assert compose_cell(free, progress=False).toll is None
