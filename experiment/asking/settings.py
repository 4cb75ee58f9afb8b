"""The attacker's options: whom it asks, how, and what it trains on the answers."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from experiment.keys import Config, asking_accounts
from extraction.attacks.base import Attack
from extraction.settings import ExtractionSettings, SubstituteSettings
from storage.options import instantiate, settings
from storage.typed import Bounds, Count

Known = Literal["cost", "defense"]
"""What an attack may be told of the victim's side (`attack.knows`)."""


@dataclass(frozen=True)
class Remote:
    """A server that is asked in the victim's place, as so many accounts (conf/oracle/http.yaml).

    Raises ValueError naming the option for what makes no sense.
    """

    url: str
    key_variable: str
    max_hashes: Annotated[float, Bounds(1)]
    workers: Count | None
    accounts: Count

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"oracle.url must begin with http:// or https://, not {self.url!r}")
        if len(self.keys) < self.accounts:
            raise ValueError(
                f"oracle.key_variable={self.key_variable}: that variable must hold an API key for "
                f"each account, attack.accounts={self.accounts}, by commas; it holds {len(self.keys)}"
            )

    @property
    def keys(self) -> list[str]:
        """The API keys, which no config or result ever holds."""
        return [key.strip() for key in os.environ.get(self.key_variable, "").split(",") if key.strip()]


def remote_of(config: Config) -> Remote | None:
    """The server that a resolved config asks, or None where the victim is asked in this process.

    Raises ValueError naming the option for what makes no sense.
    """
    options = dict(config["oracle"])
    match options.pop("name"):
        case "http":
            return settings(Remote, options | {"accounts": config["attack"]["accounts"]}, "oracle")
        case "in_process":
            return None
        case other:
            raise ValueError(f"oracle.name must be in_process or http, not {other!r}")


def attack_rule(config: Config) -> Attack:
    """The attack of a resolved config.

    Raises ValueError naming the option for what is none, and for an attacker that makes no sense.
    """
    attack = config["attack"]
    rule = instantiate(attack["rule"], "attack.rule")
    if not isinstance(rule, Attack):
        raise ValueError(
            "attack.rule must name a class that derives from Attack (extraction/attacks/base.py), "
            f"not {attack['rule']!r}"
        )
    return rule


def extraction_settings(config: Config) -> ExtractionSettings:
    """The settings that the extraction of a resolved config runs with.

    Raises ValueError naming the option for what makes no sense.
    """
    keys = ("budget", "round_size", "accounts", "answers", "top_k", "warm_start", "recover", "repeats")
    asking = ExtractionSettings(**{key: config["attack"][key] for key in keys}, seed=config["seed"])
    if asking.recover in ("bayes", "ddae") and "defense" not in config["attack"]["knows"]:
        raise ValueError(
            f"attack.recover={asking.recover} is for an attacker who knows the defense: "
            "attack.knows=[defense]"
        )
    return replace(asking, accounts=asking_accounts(config))


def substitute_settings(config: Config) -> SubstituteSettings:
    """The network that the attacker of a resolved config trains, and by which recipe."""
    return settings(SubstituteSettings, config["substitute"], "substitute")
