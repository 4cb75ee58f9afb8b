"""The attacker's options: whom it asks, how, and what it trains on the answers."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from experiment.keys import Config, asking_accounts
from extraction.settings import ExtractionSettings, SubstituteSettings
from storage.options import instantiate


@dataclass(frozen=True)
class Remote:
    """A server that is asked in the victim's place, as so many accounts (conf/oracle/http.yaml).

    Raises ValueError naming the option for what makes no sense.
    """

    url: str
    key_variable: str
    max_hashes: float
    workers: int | None
    accounts: int

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"oracle.url must begin with http:// or https://, not {self.url!r}")
        if not self.max_hashes >= 1:
            raise ValueError(f"oracle.max_hashes must be at least 1, not {self.max_hashes!r}")
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
            return Remote(**options, accounts=config["attack"]["accounts"])
        case "in_process":
            return None
        case other:
            raise ValueError(f"oracle.name must be in_process or http, not {other!r}")


def extraction_settings(config: Config) -> ExtractionSettings:
    """The settings that the extraction of a resolved config runs with.

    Raises ValueError naming the option for what makes no sense.
    """
    keys = ("budget", "round_size", "accounts", "answers", "top_k", "warm_start", "recover", "repeats")
    settings = ExtractionSettings(**{key: config["attack"][key] for key in keys}, seed=config["seed"])
    return replace(settings, accounts=asking_accounts(config))


def substitute_settings(config: Config) -> SubstituteSettings:
    """The network that the attacker of a resolved config trains, and by which recipe."""
    return SubstituteSettings(**instantiate(config["substitute"], "substitute"))
