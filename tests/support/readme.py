"""The commands that the documents give."""

from __future__ import annotations

import re

from support.commands import ROOT

TEXT = (ROOT / "README.md").read_text()


DEFENSES = (ROOT / "docs" / "defenses.md").read_text()


COMMANDS = [
    line.strip()
    for block in re.findall(r"```\n(.*?)```", TEXT, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("make ", ".venv/", "TOLLGATE_KEY="))
]


SERVE, *ASK = [command for command in COMMANDS if "serve.py" in command or "TOLLGATE_KEY" in command]
PLANNED = [command for command in COMMANDS if "mnist_full" in command]  # the cluster's: test_slurm.py


GRIDS = [
    command
    for command in COMMANDS
    if command.startswith(".venv/bin/python run.py -m") and command not in PLANNED
]


SMALL = [
    "logger=none",
    "attack.budget=40",
    "attack.round_size=20",
    "dataset.transfer.steps=2",
    "victim.recipe.epochs=1",
    "substitute.recipe.epochs=1",
    "privacy.measures.pate.teachers=3",
    "privacy.measures.pate.recipe.epochs=1",
    "privacy.measures.pknn.k=20",
    "dataset.splits={train: 'train[:200]', pool: 'train[200:]', test: test}",
]
