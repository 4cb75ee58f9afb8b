"""Ledgers know accounts by their keys, admit them within limits, and sum what they revealed."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import numpy as np
import pytest

from gate.ledgers.base import Booked, Ledger, LimitReached, Limits, NotRedeemable
from support.gates.ledgers import NOW, OpenNamed, admitted, challenge, refusal, same, why_not


def test_an_account_is_found_by_its_key(ledger: Ledger) -> None:
    ledger.add_account("ann", b"\x00digest of ann's\xff")
    ledger.add_account("bérénice", b"digest of hers")
    assert ledger.find_account(b"\x00digest of ann's\xff") == "ann"
    assert ledger.find_account(b"digest of hers") == "bérénice"
    assert ledger.find_account(b"digest of nobody's") is None


def test_a_taken_name_or_key_is_refused(ledger: Ledger) -> None:
    ledger.add_account("ann", b"first")
    with pytest.raises(ValueError, match="account 'ann'"):
        ledger.add_account("ann", b"second")
    with pytest.raises(ValueError, match="account 'bob'"):
        ledger.add_account("bob", b"first")
    assert ledger.find_account(b"first") == "ann" and ledger.find_account(b"second") is None
    ledger.add_account("bob", b"second")


def test_a_removed_account_leaves_what_it_revealed(ledger: Ledger) -> None:
    ledger.add_account("ann", b"first")
    booked = ledger.book("ann", 3, np.array([0.5, 0.25]))
    assert ledger.remove_account("ann")
    assert ledger.find_account(b"first") is None
    assert not ledger.remove_account("ann")
    assert same(ledger.totals("ann"), booked)
    ledger.add_account("ann", b"second")
    assert ledger.find_account(b"second") == "ann"
    ledger.add_account("bob", b"first")


def test_a_challenge_opens_one_account_even_if_it_is_removed(ledger: Ledger) -> None:
    one = ("ann", b"digest", challenge(1))
    ledger.open_account(*one, NOW, NOW + 10, 2)
    assert ledger.find_account(b"digest") == "ann"
    assert ledger.remove_account("ann")
    with pytest.raises(NotRedeemable, match="spent"):
        ledger.open_account(*one, NOW, NOW + 10, 2)
    assert ledger.find_account(b"digest") is None
    assert ledger.sweep(NOW + 9) == 0 and ledger.sweep(NOW + 10) == 1, "spent until it expires"


def test_what_opens_no_account_counts_and_spends_nothing(ledger: Ledger) -> None:
    ledger.add_account("ann", b"digest")
    for name, digest in (("ann", b"other"), ("bob", b"digest")):
        with pytest.raises(ValueError, match="is taken"):
            ledger.open_account(name, digest, challenge(1), NOW, NOW + 99, 1)
    ledger.open_account("bob", b"bob's", challenge(1), NOW, NOW + 99, 1)
    with pytest.raises(LimitReached):
        ledger.open_account("eve", b"eve's", challenge(2), NOW, NOW + 99, 1)
    ledger.open_account("eve", b"eve's", challenge(2), NOW + 60, NOW + 99, 1)


def test_of_threads_with_one_solution_one_opens_and_is_counted(ledger: Ledger) -> None:
    def opens(_: int) -> bool:
        try:
            ledger.open_account("ann", b"digest", challenge(1), NOW, NOW + 99, 2)
        except NotRedeemable:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(opens, range(32))) == 1
    ledger.open_account("bob", b"bob's", challenge(2), NOW, NOW + 99, 2)


# Admission


@pytest.mark.parametrize("limits", [{"pending": 0}, {"requests_a_minute": 0}])
def test_a_limit_below_one_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(limits))} must be at least 1, not 0"):
        Limits(**{"pending": 1, "requests_a_minute": 1} | limits)


def test_requests_are_counted_within_a_window(ledger: Ledger) -> None:
    two = Limits(pending=1, requests_a_minute=2)
    admitted(ledger, "ann", NOW, two)
    admitted(ledger, "ann", NOW + 59.5, two)
    assert refusal(ledger, "ann", NOW, two) == ("rate", 60)
    assert refusal(ledger, "ann", NOW + 59.75, two) == ("rate", 0.25)
    admitted(ledger, "bob", NOW + 59.75, two)
    admitted(ledger, "ann", NOW + 60, two)
    admitted(ledger, "ann", NOW + 60, two)
    assert refusal(ledger, "ann", NOW + 60, two) == ("rate", 60)
    assert refusal(ledger, "ann", NOW + 119, Limits(1, 1)) == ("rate", 1)


def test_pending_challenges_are_limited_until_they_expire(ledger: Ledger) -> None:
    for number in range(3):
        ledger.keep(challenge(number), "ann", b"answer", NOW + 10.25 * (3 - number))
    ledger.keep(challenge(3), "bob", b"answer", NOW + 5)
    assert refusal(ledger, "ann", NOW, Limits(3, 9)) == ("pending", 10.25)
    assert refusal(ledger, "ann", NOW, Limits(2, 9)) == ("pending", 20.5)
    assert refusal(ledger, "ann", NOW, Limits(1, 9)) == ("pending", 30.75)
    assert refusal(ledger, "ann", NOW + 10, Limits(3, 9)) == ("pending", 0.25)
    admitted(ledger, "ann", NOW, Limits(4, 9))
    admitted(ledger, "bob", NOW, Limits(2, 9))
    admitted(ledger, "ann", NOW + 10.25, Limits(3, 9))


def test_expiries_are_exact(ledger: Ledger) -> None:
    expires = float(np.nextafter(1.76e9 + 0.1, math.inf))
    just_before = float(np.nextafter(expires, -math.inf))
    ledger.keep(challenge(0), "ann", b"answer", expires)
    assert refusal(ledger, "ann", just_before, Limits(1, 9)) == ("pending", expires - just_before)
    admitted(ledger, "ann", expires, Limits(1, 9))
    assert ledger.sweep(just_before) == 0
    assert why_not(ledger, challenge(0), expires) == "unknown"
    assert ledger.redeem(challenge(0), just_before) == b"answer"


def test_redeeming_makes_room(ledger: Ledger) -> None:
    one = Limits(pending=1, requests_a_minute=9)
    ledger.keep(challenge(0), "ann", b"answer", NOW + 30)
    assert refusal(ledger, "ann", NOW, one) == ("pending", 30)
    ledger.redeem(challenge(0), NOW)
    admitted(ledger, "ann", NOW, one)


def test_refused_requests_are_not_counted(ledger: Ledger) -> None:
    ledger.keep(challenge(0), "ann", b"answer", NOW + 30)
    for _ in range(5):
        assert refusal(ledger, "ann", NOW, Limits(1, 9))[0] == "pending"
    ledger.redeem(challenge(0), NOW)
    admitted(ledger, "ann", NOW, Limits(1, 1))
    for _ in range(5):
        assert refusal(ledger, "ann", NOW, Limits(1, 1))[0] == "rate"
    admitted(ledger, "ann", NOW, Limits(1, 2))


def test_threads_are_not_admitted_beyond_the_limit(ledger: Ledger, open_named: OpenNamed) -> None:
    def may_ask(number: int) -> bool:
        with suppress(LimitReached):
            admitted((ledger, another)[number % 2], "ann", NOW, Limits(80, 20))
            return True
        return False

    with closing(open_named("ledger")) as another, ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(may_ask, range(80))) == 20


# Totals


def test_totals_are_the_running_sum(ledger: Ledger) -> None:
    assert ledger.totals("ann") is None
    generator = np.random.default_rng(0)
    running = np.zeros(7)
    for count in range(1, 40):
        revealed = generator.standard_normal(7) * 10.0 ** generator.integers(-12, 12, 7)
        running = running + revealed
        booked = ledger.book("ann", 3, revealed)
        assert same(booked, Booked(3 * count, running)) and booked.revealed.dtype == np.float64
        assert same(ledger.totals("ann"), booked)
    assert ledger.totals("bob") is None
    tiny = np.full(7, 5e-324)
    assert same(ledger.book("bob", 2**40, tiny), Booked(2**40, tiny))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_booked(ledger: Ledger, bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        ledger.book("ann", 1, np.array([1.0, bad]))
    assert ledger.totals("ann") is None
    booked = ledger.book("ann", 1, np.array([1.0, 1e308]))
    for revealed in ([bad, 1.0], [1.0, 1e308]):
        with pytest.raises(ValueError, match="not finite"):
            ledger.book("ann", 1, np.array(revealed))
    assert same(ledger.totals("ann"), booked)


def test_another_shape_is_not_booked(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="shape"):
        ledger.book("ann", 1, np.ones((1, 3)))
    booked = ledger.book("ann", 1, np.ones(3))
    for payer, shape in itertools.product(["ann", "bob"], [(2,), (4,), (0,), (), (1, 3)]):
        with pytest.raises(ValueError, match="shape"):
            ledger.book(payer, 1, np.ones(shape))
    assert same(ledger.totals("ann"), booked) and ledger.totals("bob") is None


def test_nothing_booked_by_threads_is_lost(ledger: Ledger, open_named: OpenNamed) -> None:
    def book(number: int) -> None:
        (ledger, another)[number % 2].book("ann", number, np.array([1.0, number / 8]))

    with closing(open_named("ledger")) as another, ThreadPoolExecutor(8) as threads:
        list(threads.map(book, range(100)))
    assert same(ledger.totals("ann"), Booked(4950, np.array([100, 4950 / 8])))


def test_numbers_are_kept_and_changed(ledger: Ledger) -> None:
    def counted(numbers: np.ndarray | None) -> np.ndarray:
        return np.array([1.0, 0.25]) + (np.zeros(2) if numbers is None else numbers)

    assert ledger.kept() == {}
    assert ledger.update("ann", counted).tolist() == [1.0, 0.25]
    assert ledger.update("ann", counted).tolist() == [2.0, 0.5]
    ledger.update("bob", lambda numbers: np.array([0.1]))
    kept = {payer: numbers.tolist() for payer, numbers in ledger.kept().items()}
    assert kept == {"ann": [2.0, 0.5], "bob": [0.1]}


def test_a_change_that_fails_changes_nothing(ledger: Ledger) -> None:
    def fail(numbers: np.ndarray | None) -> np.ndarray:
        raise ValueError("no")

    ledger.update("ann", lambda numbers: np.array([3.0]))
    with pytest.raises(ValueError, match="no"):
        ledger.update("ann", fail)
    assert ledger.kept()["ann"].tolist() == [3.0]


def test_no_change_by_threads_is_lost(ledger: Ledger, open_named: OpenNamed) -> None:
    with closing(open_named("ledger")) as another, ThreadPoolExecutor(8) as threads:

        def change(number: int) -> None:
            (ledger, another)[number % 2].update(
                "ann", lambda numbers: (np.zeros(1) if numbers is None else numbers) + number
            )

        list(threads.map(change, range(100)))
    assert ledger.kept()["ann"].tolist() == [4950.0]
