"""The documents name what there is, and nothing else: subcommands, flags, options, keys, links, terms."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from commands.main import SUBCOMMANDS, main
from experiment import naming
from support.commands import ROOT
from support.readme import (
    PAGES,
    Command,
    commands,
    first_column,
    options,
    save_files,
    section,
    sections,
    text,
)

COMMANDS = [command for page in PAGES for command in commands(page) if command.program == "tollgate"]
COMPOSED = {"run": "config", "plan": "config", "serve": "serve", "explain": "explain"}
"""Subcommands whose options are the config, and the file that it begins with."""

GROUPS = sorted(
    path.name
    for path in (ROOT / "conf").iterdir()
    if path.is_dir() and path.name not in ("hydra", "local") and options(path.name)
)


def idents(command: Command) -> str:
    return f"{command.page}: {command.line[:60]}"


@cache
def help_of(*subcommand: str) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main([*subcommand, "--help"])
    assert end.value.code == 0
    return printed.getvalue()


@pytest.mark.parametrize("command", COMMANDS, ids=idents)
def test_a_command_uses_what_its_subcommand_knows(command: Command, tmp_path: Path) -> None:
    name, *arguments = command.arguments
    assert name in SUBCOMMANDS
    if name in COMPOSED:
        save_files(command.page, tmp_path)
        check_overrides(command, tmp_path)
        return
    subcommand = [name, arguments[0]] if name == "accounts" else [name]
    for flag in [argument for argument in arguments if argument.startswith("--")]:
        assert re.search(rf"{flag}\b", help_of(*subcommand)), flag


def check_overrides(command: Command, folder: Path) -> None:
    """Compose the config with each value of each axis; Hydra refuses what is no option and no key."""
    axes = [values(override) for override in command.overrides]
    first = [axis[0] for axis in axes]
    cases = [[*first[:i], value, *first[i + 1 :]] for i, axis in enumerate(axes) for value in axis[1:]]
    for case in [first, *cases]:
        config_dir = folder / command.config_dir if command.config_dir else None
        composed(*case, name=COMPOSED[command.arguments[0]], config_dir=config_dir)


def values(override: str) -> list[str]:
    """The override once for each of its values."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    if not parsed.is_sweep_override():
        return [override]
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


@cache
def composed(*overrides: str, name: str = "config", config_dir: Path | None = None) -> DictConfig:
    naming.register()
    search = f"hydra.searchpath=[file://{config_dir}]" if config_dir else "hydra.searchpath=[]"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(name, [*overrides, search], return_hydra_config=True)


def spans(page: str) -> list[str]:
    """Code within the text of a page."""
    without_blocks = re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", without_blocks)


@pytest.mark.parametrize("page", PAGES)
def test_subcommands_within_the_text_exist(page: str) -> None:
    for span in spans(page):
        if named := re.match(r"tollgate ([\w-]+)", span):
            assert named[1] in SUBCOMMANDS, span


@pytest.mark.parametrize("page", [*PAGES, "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    for path, anchor in re.findall(r"\]\((?!http)([\w./]*)(?:#([\w-]+))?\)", text(page)):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


def test_the_index_has_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= set(re.findall(r"\]\(([\w.]+)\)", text("docs/index.md")))


def test_the_glossary_is_the_readmes() -> None:
    terms = [re.findall(r"^- \*\*([\w ]+)\*\*", text(page), flags=re.MULTILINE) for page in PAGES]
    found = dict(zip(PAGES, terms, strict=True))
    assert len(found["README.md"]) == 10
    assert found["docs/glossary.md"][:10] == found["README.md"]
    readme = text("README.md")
    assert readme.index("**victim**") < (readme + "\n| ").index("\n| "), "before the first table"


@pytest.mark.parametrize(("page", "group"), [("docs/attacks.md", "attack"), ("docs/defenses.md", "defense")])
def test_a_page_has_each_option_of_its_group_and_no_other(page: str, group: str) -> None:
    """A row in its tables, and a paragraph that begins with its name."""
    assert {name for name in first_column(text(page)) if "." not in name} == options(group)
    assert set(re.findall(r"^\*\*`(\w+)`\*\*", text(page), flags=re.MULTILINE)) == options(group)


@pytest.mark.parametrize("name", sorted(options("attack")))
def test_the_keys_of_an_attack_are_in_its_row(name: str) -> None:
    assert keys_in_row("docs/attacks.md", name) == own_keys(composed(f"attack={name}").attack.rule)


@pytest.mark.parametrize("name", sorted(options("defense") - {"none"}))
def test_the_keys_of_a_defense_are_in_its_row(name: str) -> None:
    assert keys_in_row("docs/defenses.md", name) == own_keys(composed(f"defense={name}").defense[name])


def keys_in_row(page: str, name: str) -> set[str]:
    """Code spans in the last column of the first row of that name."""
    rows = re.findall(rf"^\| `{name}` \|.*\|(.*)\|$", text(page), flags=re.MULTILINE)
    return set(re.findall(r"`(\w+)`", rows[0]))


def own_keys(node: DictConfig) -> set[str]:
    """The keys of a node that a user may change."""
    is_runs = node.get("_target_", "").startswith(
        "experiment.tracking."
    )  # whose name is the user's to choose
    return {str(key) for key in node} - {"_target_", "_partial_", "_recursive_", "" if is_runs else "name"}


OPTIONS = "docs/options.md"


def test_the_options_page_has_each_group() -> None:
    assert set(sections(OPTIONS)) == {
        *GROUPS,
        "privacy/measure",
        "hydra/launcher",
        "hydra/sweeper",
        "seed",
        "server",
        "explain",
    }


@pytest.mark.parametrize("group", [*GROUPS, "privacy/measure", "hydra/launcher", "hydra/sweeper"])
def test_the_options_page_has_each_option_of_a_group_and_no_other(group: str) -> None:
    named = [name for name in first_column(section(OPTIONS, group)) if "." not in name]
    assert sorted(named) == sorted(options(group))


NODES = {
    "attack": ["attack"],
    "dataset": ["dataset"],
    "query_pool": ["query_pool"],
    "network": ["victim", "substitute"],
    "recipe": ["victim.recipe"],
    "privacy": ["privacy"],
    "pow_calibration": ["pow_calibration"],
    "puzzle": ["puzzle"],
    "hardware": ["hardware"],
    "oracle": ["oracle"],
    "trainer": ["trainer"],
    "logger": [f"logger.{name}" for name in sorted(options("logger"))],
    "paths": ["paths"],
    "hydra/launcher": ["hydra.launcher"],
    "hydra/sweeper": ["hydra.sweeper"],
    "server": ["server"],
    "explain": ["explain"],
}
"""Where the options of a group, or the keys of a section, are mounted in the config."""


@pytest.mark.parametrize("title", NODES)
def test_the_options_page_has_each_key_of_a_section_and_no_other(title: str) -> None:
    if title in ("server", "explain"):
        configs = [composed(name={"server": "serve", "explain": "explain"}[title])]
    elif title in ("network", "recipe"):
        configs = [composed()]
    else:
        configs = [composed(f"{title}={name}") for name in sorted(options(title))]
    found = {
        f"{node}.{key}"
        for config in configs
        for node in NODES[title]
        for key in own_keys(OmegaConf.select(config, node) or OmegaConf.create())
    }
    assert {name for name in first_column(section(OPTIONS, title)) if "." in name} == found
