"""From a composed config to the parts of a cell; all that can be wrong with the input is found here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from experiment.asking.settings import attack_rule, extraction_settings, remote_of, substitute_settings
from experiment.components import Cell
from experiment.defense_stack import Toll, make_stack
from experiment.images import CellData, load_cell_data
from experiment.keys import Config, Identity
from experiment.kinds import accounting_of, check_defenses, defense_class, make_buckets, make_measures
from experiment.options import check_config, transfer_settings
from storage.errors import InputError
from storage.options import instantiate
from storage.options import settings as make_settings
from victims.architectures.build import build_network
from victims.architectures.function import is_trainable
from victims.victim import VictimSettings, build_victim, load_weights


def compose_cell(config: DictConfig, progress: bool) -> Cell:
    """Instantiate and check a cell's parts; raises InputError, one clear sentence, before any training."""
    plain: Config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    return compose_resolved(plain, progress)


def compose_resolved(plain: Config, progress: bool, data: CellData | None = None) -> Cell:
    """The same for a resolved config; `data` are the cell's images where they are at hand already."""
    try:
        return _compose(plain, progress, data)
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error


def _compose(plain: Config, progress: bool, images: CellData | None) -> Cell:
    check_defenses(plain)
    check_config(plain)
    instantiate(plain["logger"], "logger")  # which says what is not installed
    accounting = accounting_of(plain)
    rule = attack_rule(plain)
    stack = make_stack(plain, accounting)
    settings = extraction_settings(plain)
    images = images or load_cell_data(plain)
    cell = Cell(
        config=plain,
        hardware=replace(instantiate(plain["trainer"], "trainer"), progress=progress),
        data=images.data,
        pool=images.pool,
        other_pool=images.other_pool,
        identity=Identity(plain, images.prints),
        victim=make_settings(VictimSettings, plain["victim"], "victim"),
        measures=make_measures(plain, len(images.data.train)),
        buckets=make_buckets(plain),
        attack=rule,
        settings=settings,
        substitute=substitute_settings(plain),
        stack=stack,
        remote=remote_of(plain),
        accounting=accounting,
        transfer=transfer_settings(plain),
    )
    _check(cell)
    return cell


def _check(cell: Cell) -> None:
    classes = cell.data.train.num_classes
    if classes < 2:
        raise ValueError(
            f"dataset={cell.config['dataset']['name']} holds images of {classes} class only; a classifier "
            "needs at least 2"
        )
    if not {"server", "explain"} & set(cell.config):  # which run no attack
        cell.settings.check_against(cell.attack, cell.attack.supply(cell.pool, cell.other_pool), classes)
    if cell.attack.needs_cost and not cell.knows_cost:
        raise ValueError("attack.knows must name cost for this attack, which asks by the defender's own cost")
    if cell.toll is not None:
        _check_measures(cell, cell.toll)
        cell.toll.pricing.check_honest(len(cell.data.test))
    _check_networks(cell, classes)
    if cell.victim.checkpoint is not None:
        load_weights(build_victim(cell.victim, cell.data.train), Path(cell.victim.checkpoint))


def _check_networks(cell: Cell, classes: int) -> None:
    """Raise ValueError where networks do not fit the data, or what a victim without gradients cannot have."""
    victim = build_network(cell.victim.architecture, cell.data.train.image_shape, classes)
    substitute = build_network(cell.substitute.architecture, cell.pool.image_shape, classes)
    if not is_trainable(substitute):
        raise ValueError("substitute must be a network with weights to train, not a function")
    cell.attack.check_substitute(substitute)
    if is_trainable(victim):
        return
    if cell.victim.checkpoint is not None:
        raise ValueError(
            "victim.checkpoint must be null where the victim is a function, which has no weights"
        )
    if "explain" in cell.config:
        raise ValueError(
            "explain asks about adversarial images, for which a victim that is a function has no gradients"
        )
    if trained := [name for name in cell.config["defense"] if defense_class(cell.config, name).trains]:
        raise ValueError(
            f"defense.{trained[0]} trains networks like the victim's, and this victim is a function"
        )


def _check_measures(cell: Cell, toll: Toll) -> None:
    """Raise ValueError, naming the option, where the toll charges by a measure that is not configured."""
    charged = {f"defense.{toll.name}.cost": toll.cost}
    gains = getattr(toll.pricing.unexpected, "gains", {})
    charged |= {
        f"pow_calibration.gains.{gain}.measure": name for gain in gains for name in gains[gain].measures
    }
    for option, name in charged.items():
        if name not in cell.measures:
            valid = ", ".join(cell.measures)
            raise ValueError(f"{option} must be one of {valid} (privacy.measures), not {name!r}")
