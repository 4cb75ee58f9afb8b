"""Accounting where blocks meet, and where there is nothing to account for."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import accountant, gnmax


@pytest.mark.parametrize("accounting", ["summed", "composed"])
def test_a_trace_without_queries_costs_nothing(accounting: Literal["summed", "composed"]) -> None:
    cost = accountant.cumulative_epsilon(torch.empty(0), 10.0, 1e-5, accounting)
    assert cost.shape == (0,) and cost.dtype == torch.float64


@pytest.mark.parametrize("block", [1, 7, 10, 50])
def test_blocks_do_not_change_a_composition(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    log_q = -np.random.default_rng(0).exponential(20, 50)
    running = gnmax.rdp(log_q, 10.0, gnmax.ORDERS).numpy().cumsum(0)
    orders = gnmax.ORDERS.numpy()
    expected = [(row + np.log(1e6) / (orders - 1)).min() for row in running]
    monkeypatch.setattr(accountant, "BLOCK", block)
    composed = accountant.cumulative_epsilon(log_q, 10.0, 1e-6, "composed")
    assert composed.tolist() == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-1e4, -0.1), min_size=1, max_size=12),
    st.floats(0.5, 100),
    st.floats(1e-9, 0.1),
)
def test_costs_grow_and_composing_never_costs_more(log_q: list[float], sigma: float, delta: float) -> None:
    # Both hold at any order: RDP is never negative, and every query's own epsilon has a conversion to pay.
    summed = accountant.cumulative_epsilon(np.array(log_q), sigma, delta, "summed")
    composed = accountant.cumulative_epsilon(np.array(log_q), sigma, delta, "composed")
    assert (composed <= summed * (1 + 1e-12)).all()
    assert (summed.diff() > 0).all()
    assert (composed.diff() >= -1e-12 * composed[:-1]).all()
    stricter = accountant.cumulative_epsilon(np.array(log_q), sigma, delta / 10, "composed")
    assert (stricter > composed).all()
