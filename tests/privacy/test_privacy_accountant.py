"""Accounting where blocks meet, and where there is nothing to account for."""

from __future__ import annotations

from typing import Literal

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import accountant, gnmax


@pytest.mark.parametrize("accounting", ["summed", "composed"])
def test_a_trace_without_queries_costs_nothing(accounting: Literal["summed", "composed"]) -> None:
    cost = accountant.Accounting(10.0, 1e-5, accounting).cumulative(torch.empty(0))
    assert cost.shape == (0,) and cost.dtype == torch.float64


@pytest.mark.parametrize("block", [1, 7, 10, 50])
def test_blocks_do_not_change_a_composition(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    log_q = -np.random.default_rng(0).exponential(20, 50)
    running = gnmax.rdp(log_q, 10.0, gnmax.ORDERS).numpy().cumsum(0)
    orders = gnmax.ORDERS.numpy()
    expected = [(row + np.log(1e6) / (orders - 1)).min() for row in running]
    monkeypatch.setattr(gnmax, "BLOCK", {"cpu": block})
    composed = accountant.Accounting(10.0, 1e-6, "composed").cumulative(log_q)
    assert composed.tolist() == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-1e4, -0.1), min_size=1, max_size=12),
    st.floats(0.5, 100),
    st.floats(1e-9, 0.1),
)
def test_costs_grow_and_composing_never_costs_more(log_q: list[float], sigma: float, delta: float) -> None:
    # Both hold at any order: RDP is never negative, and every query's own epsilon has a conversion to pay.
    summed = accountant.Accounting(sigma, delta, "summed").cumulative(np.array(log_q))
    composed = accountant.Accounting(sigma, delta, "composed").cumulative(np.array(log_q))
    assert (composed <= summed * (1 + 1e-12)).all()
    assert (summed.diff() > 0).all()
    assert (composed.diff() >= -1e-12 * composed[:-1]).all()
    stricter = accountant.Accounting(sigma, delta / 10, "composed").cumulative(np.array(log_q))
    assert (stricter > composed).all()


@pytest.mark.parametrize("how", ["summed", "composed"])
@pytest.mark.parametrize("bound", ["data_dependent", "data_independent", "tightest"])
@pytest.mark.parametrize("conversion", ["classical", "canonne_kamath_steinke"])
def test_an_account_that_asks_in_pieces_pays_what_it_pays_at_once(
    how: accountant.HowCostsAdd, bound: gnmax.Bound, conversion: gnmax.Conversion
) -> None:
    log_q = -np.random.default_rng(1).exponential(20, 60)
    accounting = accountant.Accounting(10.0, 1e-5, how, bound, conversion)
    account = accountant.Accountant(accounting)
    assert account.cost == 0.0
    parts = [account.add(log_q[a:b]) for a, b in ((0, 1), (1, 20), (20, 20), (20, 60))]
    assert torch.cat(parts).tolist() == pytest.approx(accounting.cumulative(log_q).tolist(), rel=1e-12)
    assert account.cost == pytest.approx(float(parts[-1][-1]), rel=1e-12)
    assert account.queries == 60


@pytest.mark.parametrize("order", [2.0, 2.5, 17.0, 99.5, 1000.0])
@pytest.mark.parametrize("rdp", [0.0, 1e-6, 0.03, 4.0, 300.0])
def test_the_tighter_conversion_in_fifty_digits(rdp: float, order: float) -> None:
    """Proposition 12 states delta for an epsilon; ours is the epsilon at which it is the delta asked for."""
    delta = 1e-6
    epsilon = gnmax.epsilon(np.array([[rdp]]), np.array([order]), delta, "canonne_kamath_steinke")
    with mpmath.workdps(50):
        a = mpmath.mpf(order)

        def delta_at(value: mpmath.mpf) -> mpmath.mpf:
            return mpmath.exp((a - 1) * (mpmath.mpf(rdp) - value)) / (a - 1) * (1 - 1 / a) ** a

        exact = mpmath.mpf(rdp) + mpmath.log(delta_at(mpmath.mpf(rdp)) / mpmath.mpf(delta)) / (a - 1)
        assert mpmath.almosteq(delta_at(exact), mpmath.mpf(delta), 1e-40)
        assert float(epsilon) == pytest.approx(float(max(exact, mpmath.mpf(0))), rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.floats(-1e4, -0.1), st.floats(0.5, 100), st.floats(1e-9, 0.1))
def test_bounds_and_conversions_keep_their_order(log_q: float, sigma: float, delta: float) -> None:
    one = np.array([log_q])
    dependent, independent, tightest = (
        gnmax.rdp(one, sigma, gnmax.ORDERS, bound)
        for bound in ("data_dependent", "data_independent", "tightest")
    )
    assert independent[0].tolist() == pytest.approx([order / sigma**2 for order in gnmax.ORDERS.tolist()])
    assert torch.equal(tightest, torch.minimum(dependent, independent))
    classical = gnmax.epsilon(tightest, gnmax.ORDERS, delta)
    tighter = gnmax.epsilon(tightest, gnmax.ORDERS, delta, "canonne_kamath_steinke")
    assert 0 <= float(tighter) < float(classical)


@pytest.mark.parametrize(("sigma", "delta"), [(2.0, 1e-5), (7.0, 1e-6), (10.0, 1e-5), (40.0, 1e-5)])
def test_a_querys_own_epsilon_is_that_of_the_published_minimum_and_a_sum_of_rdp_is_not(
    sigma: float, delta: float
) -> None:
    log_q = -np.geomspace(0.11, 2000, 500)

    def epsilon(bound: gnmax.Bound, composed: bool) -> torch.Tensor:
        each = gnmax.rdp(log_q, sigma, gnmax.ORDERS, bound)
        total = each.sum(0, keepdim=True) if composed else each
        return gnmax.epsilon(total, gnmax.ORDERS, delta)

    assert torch.allclose(epsilon("data_dependent", False), epsilon("tightest", False), rtol=1e-6, atol=0)
    assert float(epsilon("tightest", True)) < 0.95 * float(epsilon("data_dependent", True))


def test_wrong_words_name_the_valid_ones() -> None:
    for options, said in (
        ({"how": "averaged"}, r"privacy\.accounting must be one of summed, composed"),
        ({"bound": "loose"}, r"privacy\.bound must be one of"),
        ({"conversion": "exact"}, r"privacy\.conversion must be one of classical"),
    ):
        with pytest.raises(ValueError, match=said):
            accountant.Accounting(1.0, 1e-5, **options)  # type: ignore[arg-type]
