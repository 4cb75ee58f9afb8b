"""Ledgers know accounts by their keys, admit them within limits, and sum what they revealed."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import numpy as np
import pytest

from gate.ledgers.base import Account, Charge, Ledger, LimitReached, Limits, NotRedeemable
from support.gates.ledgers import (
    LATER,
    NOW,
    OpenNamed,
    add,
    admitted,
    challenge,
    keep,
    redeem,
    refusal,
    stands,
    why_not,
)


def test_an_account_is_found_by_its_key(ledger: Ledger) -> None:
    ledger.add_account("ann", b"\x00digest of ann's\xff")
    ledger.add_account("bérénice", b"digest of hers")
    assert ledger.find_account(b"\x00digest of ann's\xff") == Account("ann")
    assert ledger.find_account(b"digest of hers") == Account("bérénice")
    assert ledger.find_account(b"digest of nobody's") is None


def test_a_taken_name_or_key_is_refused(ledger: Ledger) -> None:
    ledger.add_account("ann", b"first")
    with pytest.raises(ValueError, match="account 'ann'"):
        ledger.add_account("ann", b"second")
    with pytest.raises(ValueError, match="account 'bob'"):
        ledger.add_account("bob", b"first")
    assert ledger.find_account(b"first") == Account("ann") and ledger.find_account(b"second") is None
    ledger.add_account("bob", b"second")


def test_a_removed_account_leaves_what_it_revealed(ledger: Ledger) -> None:
    ledger.add_account("ann", b"first")
    add(ledger, "ann", [0.5, 0.25])
    assert ledger.remove_account("ann")
    assert ledger.find_account(b"first") is None
    assert not ledger.remove_account("ann")
    assert stands(ledger, "ann") == [0.5, 0.25]
    ledger.add_account("ann", b"second")
    assert ledger.find_account(b"second") == Account("ann")
    ledger.add_account("bob", b"first")


def test_a_challenge_opens_one_account_even_if_it_is_removed(ledger: Ledger) -> None:
    one = ("ann", b"digest", challenge(1))
    ledger.open_account(*one, NOW, NOW + 10, 2)
    assert ledger.find_account(b"digest") == Account("ann")
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
        keep(ledger, challenge(number), "ann", b"answer", NOW + 10.25 * (3 - number))
    keep(ledger, challenge(3), "bob", b"answer", NOW + 5)
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
    keep(ledger, challenge(0), "ann", b"answer", expires)
    assert refusal(ledger, "ann", just_before, Limits(1, 9)) == ("pending", expires - just_before)
    admitted(ledger, "ann", expires, Limits(1, 9))
    assert ledger.sweep(just_before) == 0
    assert why_not(ledger, challenge(0), expires) == "unknown"
    assert redeem(ledger, challenge(0), just_before) == b"answer"


def test_redeeming_makes_room(ledger: Ledger) -> None:
    one = Limits(pending=1, requests_a_minute=9)
    keep(ledger, challenge(0), "ann", b"answer", NOW + 30)
    assert refusal(ledger, "ann", NOW, one) == ("pending", 30)
    redeem(ledger, challenge(0), NOW)
    admitted(ledger, "ann", NOW, one)


def test_refused_requests_are_not_counted(ledger: Ledger) -> None:
    keep(ledger, challenge(0), "ann", b"answer", NOW + 30)
    for _ in range(5):
        assert refusal(ledger, "ann", NOW, Limits(1, 9))[0] == "pending"
    redeem(ledger, challenge(0), NOW)
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


# Standings


def test_numbers_are_kept_exactly_and_changed(ledger: Ledger) -> None:
    assert ledger.standings() == {}
    generator = np.random.default_rng(0)
    running = np.zeros(7)
    for _ in range(40):
        revealed = generator.standard_normal(7) * 10.0 ** generator.integers(-12, 12, 7)
        running = running + revealed
        assert add(ledger, "ann", revealed.tolist()) == running.tolist() == stands(ledger, "ann")
    assert stands(ledger, "bob") is None
    assert add(ledger, "bob", [5e-324]) == [5e-324] == stands(ledger, "bob")
    assert stands(ledger, "ann") == running.tolist()


def test_a_charge_that_fails_changes_and_keeps_nothing(ledger: Ledger) -> None:
    def fail(numbers: np.ndarray | None) -> Charge:
        raise ValueError("no")

    add(ledger, "ann", [3.0])
    keep(ledger, challenge(0), "ann", b"answer", LATER, "everyone")
    with pytest.raises(ValueError, match="no"):
        ledger.charge(challenge(1), "ann", "ann", fail)
    with pytest.raises(ValueError, match=challenge(0).hex()):
        keep(ledger, challenge(0), "ann", b"another", LATER, "ann")
    assert stands(ledger, "ann") == [3.0] and stands(ledger, "everyone") == [1.0]
    assert why_not(ledger, challenge(1)) == "unknown"


def test_no_charge_by_threads_is_lost(ledger: Ledger, open_named: OpenNamed) -> None:
    with closing(open_named("ledger")) as another, ThreadPoolExecutor(8) as threads:

        def charge(number: int) -> None:
            add((ledger, another)[number % 2], "ann", [1.0, number / 8])

        list(threads.map(charge, range(100)))
    assert stands(ledger, "ann") == [100.0, 4950 / 8]


def test_a_payer_who_is_reset_begins_anew(ledger: Ledger) -> None:
    add(ledger, "ann", [3.0])
    assert ledger.reset("ann") and not ledger.reset("ann")
    assert stands(ledger, "ann") is None
    assert add(ledger, "ann", [1.0]) == [1.0]


def test_numbers_of_one_kind_are_never_added_to_those_of_another(
    ledger: Ledger, open_named: OpenNamed
) -> None:
    assert ledger.count_as("digits") is None
    add(ledger, "ann", [3.0])
    with closing(open_named("ledger")) as other:
        assert other.count_as("mnist") == "digits", "refused"
        assert stands(other, "ann") == [3.0], "what was counted last, until told otherwise"
        assert other.count_as("mnist", anew=True) is None
        assert stands(other, "ann") is None
        assert add(other, "ann", [0.5, 0.5]) == [0.5, 0.5]
        assert add(ledger, "ann", [1.0]) == [4.0], "whoever still counts the other goes on"
    with closing(open_named("ledger")) as again:
        assert stands(again, "ann") == [0.5, 0.5]
        assert again.count_as("digits") == "mnist"
        assert again.count_as("digits", anew=True) is None and stands(again, "ann") == [4.0]


# Changed accounts


def test_accounts_are_listed_and_changed(ledger: Ledger) -> None:
    for name in ("bob", "ann"):
        ledger.add_account(name, name.encode())
    changed = Account("ann", disabled=True, pending=3, requests_a_minute=None)
    assert ledger.change_account(changed)
    assert ledger.accounts() == [changed, Account("bob")]
    assert ledger.find_account(b"ann") == changed
    assert not ledger.change_account(Account("eve", disabled=True))
    assert ledger.remove_account("ann")
    ledger.add_account("ann", b"new")
    assert ledger.find_account(b"new") == Account("ann"), "an account that was removed leaves no limits"


def test_limits_of_ones_own_stand_in_for_the_usual_ones() -> None:
    usual = Limits(pending=5, requests_a_minute=7)
    assert Account("ann").limits(usual) == usual
    assert Account("ann", pending=1).limits(usual) == Limits(1, 7)
    assert Account("ann", requests_a_minute=9).limits(usual) == Limits(5, 9)


# Signing keys


def test_signing_keys_are_shared_and_rotated(ledger: Ledger, open_named: OpenNamed) -> None:
    assert ledger.signing_keys() == []
    with closing(open_named("ledger")) as other:
        assert other.add_signing_key(b"first", keep=1) == [b"first"]
        assert ledger.signing_keys() == [b"first"]
        assert ledger.add_signing_key(b"second\x00\xff", keep=1) == [b"second\x00\xff", b"first"]
        assert other.add_signing_key(b"third", keep=1) == [b"third", b"second\x00\xff"]
        assert other.add_signing_key(b"fourth", keep=0) == [b"fourth"] == ledger.signing_keys()
