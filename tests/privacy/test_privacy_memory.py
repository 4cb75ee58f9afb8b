"""Costs of very many queries in constant memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.commands import ROOT, run_program

MEASURE = """
import resource
import torch
from privacy import gnmax, pknn
from privacy.accountant import Accountant, Accounting
torch.manual_seed(0)
{inputs}
gnmax.query_epsilon(torch.ones(2, 10), 1.0, 1e-5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{call}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
NEIGHBOURS = (
    "train, query, labels = torch.randn(50_000, 10), torch.randn(10_000, 10), torch.randint(10, (50_000,))",
    "pknn.neighbour_votes(train, labels, query, 300, 10)",
)
EPSILON = ("votes = torch.randint(250, (100_000, 10))", "gnmax.query_epsilon(votes, 10.0, 1e-5)")
COMPOSED = (
    "log_q = -torch.rand(100_000) * 100",
    "Accountant(Accounting(10.0, 1e-5, 'composed')).add(log_q)",
)


@pytest.mark.slow  # each measures a process of its own
@pytest.mark.parametrize(
    ("inputs", "call"), [NEIGHBOURS, EPSILON, COMPOSED], ids=["pkNN", "epsilon", "composed"]
)
def test_memory_does_not_grow_with_queries_times_points(tmp_path: Path, inputs: str, call: str) -> None:
    """All distances would take 4,000 MB; the RDP of 100,000 queries 320 MB, and so would each step to it."""
    program = tmp_path / "measure.py"
    program.write_text(MEASURE.format(inputs=inputs, call=call))
    done = run_program(str(program), PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150
