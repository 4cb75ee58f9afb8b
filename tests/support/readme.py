"""What the documents give: commands, files to save, and lists of options."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from support.commands import ROOT

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)

COMMAND = re.compile(r"^(?:\w+=\S+ )?(?:make |(?:\.venv/bin/)?tollgate )\S")
"""A line of a block that is a command of ours, with the environment variables before it."""

FILE = re.compile(r"`(mine/[\w./]+)`[^`]*```\w+\n(.*?)```", flags=re.DOTALL)
"""The name of a file to save, in the last code span before its block, and its content."""


@dataclass(frozen=True)
class Command:
    """A command on a page: `program` is make or tollgate."""

    page: str
    line: str
    environment: dict[str, str]
    program: str
    arguments: tuple[str, ...]

    @property
    def overrides(self) -> list[str]:
        """The arguments that are overrides of the config."""
        return [argument for argument in self.arguments if re.match(r"[\w+/@.]+=", argument)]

    def with_overrides(self, more: list[str]) -> list[str]:
        """The arguments with further overrides, beside the command's own: Hydra wants them in one place."""
        last = max(position for position, it in enumerate(self.arguments) if it in self.overrides)
        return [*self.arguments[: last + 1], *more, *self.arguments[last + 1 :]]

    @property
    def config_dir(self) -> str | None:
        """What --config-dir adds."""
        given = self.arguments
        return given[given.index("--config-dir") + 1] if "--config-dir" in given else None


def text(page: str) -> str:
    """A page, by its path from the repository's root."""
    return (ROOT / page).read_text()


def blocks(page: str, language: str = "") -> list[str]:
    """What stands in the page's blocks of a language, or of none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), flags=re.DOTALL | re.MULTILINE)
    return [content for name, content in found if name == language]


def commands(page: str) -> list[Command]:
    """The commands in the page's blocks."""
    lines = [line for block in blocks(page) for line in block.splitlines() if COMMAND.match(line)]
    return [_command(page, line) for line in lines]


def _command(page: str, line: str) -> Command:
    words = shlex.split(line)
    variables = [word for word in words[:1] if re.match(r"[A-Z_]+=", word)]
    program, *arguments = words[len(variables) :]
    environment = dict(variable.split("=", 1) for variable in variables)
    return Command(page, line, environment, Path(program).name, tuple(arguments))


def save_files(page: str, folder: Path) -> list[str]:
    """Save the files that the page says to save; their names."""
    found = FILE.findall(text(page))
    for name, content in found:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return [name for name, _ in found]


def section(page: str, title: str) -> str:
    """What stands between the heading `## TITLE` and the next one."""
    return re.split(r"^## (.+)\n", text(page), flags=re.MULTILINE)[1:][sections(page).index(title) * 2 + 1]


def sections(page: str) -> list[str]:
    """The page's headings of the second level."""
    return re.findall(r"^## (.+)$", text(page), flags=re.MULTILINE)


def first_column(part: str) -> list[str]:
    """Code spans in the first column of a text's tables."""
    rows = re.findall(r"^\| (`.*?) \|", part, flags=re.MULTILINE)
    return [span for row in rows for span in re.findall(r"`([^`]+)`", row)]


def options(group: str) -> set[str]:
    """The options of a config group; files that only others start from begin with an underscore."""
    return {path.stem for path in (ROOT / "conf" / group).glob("*.yaml") if not path.stem.startswith("_")}


GRID, OWN = (command for command in commands("README.md") if command.program == "tollgate")
PLANNED = [command for command in commands("docs/sweeps.md") if "mnist_full" in command.line][:3]
"""A plan, the same on a cluster (see test_slurm.py), and its status."""

SMALL = [
    "logger=none",
    "attack.budget=40",
    "attack.round_size=20",
    "honest_users.longest=100",
    "dataset.transfer.steps=2",
    "victim.recipe.epochs=1",
    "substitute.recipe.epochs=1",
    "privacy.measures.pate.teachers=3",
    "privacy.measures.pate.recipe.epochs=1",
    "privacy.measures.pknn.k=20",
    "dataset.splits={train: 'train[:200]', pool: 'train[200:]', test: test}",
]

SMALL_DIGITS = [option for option in SMALL if not option.startswith("dataset.splits")]
"""The same for digits, which have one part only."""
