"""Hashcash stamps against other tools' and against a few lines of hashlib."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pow.puzzles import HashcashPuzzle, solve, verify
from pow.puzzles.hashcash import EXPIRY, GRACE, check, fault, leading_zero_bits, mint

NOON = datetime(2026, 3, 10, 12)


def independent(stamp: str, resource: str, bits: int, now: datetime) -> bool:
    """What the format's description asks for; `resource` in lower case."""
    form = re.fullmatch(
        r"1:(0|[1-9]\d?\d?):(\d{6}|\d{10}|\d{12}):([ -9;-~]*):[ -9;-~]*:[\w+/=]*:([\w+/=]+)",
        stamp,
        re.ASCII,
    )
    if not form or "_" in stamp.split(":", 5)[5] or form[3].lower() != resource or int(form[1]) < bits:
        return False
    try:
        pattern = {6: "%Y%m%d", 10: "%Y%m%d%H%M", 12: "%Y%m%d%H%M%S"}[len(form[2])]
        minted = datetime.strptime("20" + form[2], pattern)
    except ValueError:
        return False
    zeros = f"{int(hashlib.sha1(stamp.encode()).hexdigest(), 16):0160b}".index("1")
    return zeros >= int(form[1]) and minted - GRACE <= now <= minted + EXPIRY + GRACE


def stamp_of(fields: str, bits: int) -> str:
    """The fields completed by a counter that makes so many zero bits."""
    return next(stamp for i in range(10**6) if leading_zero_bits(stamp := f"{fields}:{i:x}") >= bits)


@pytest.mark.parametrize(
    ("stamp", "zeros"),
    [
        ("1:20:040806:foo::65f460d0726f420d:13a6b8", 20),
        ("1:24:040806:foo::511801694b4cd6b0:1e7297a", 24),
        ("1:20:060408:adam@cypherspace.org::1QTjaYd7niiQA/sc:ePa", 20),
        ("1:20:1303030600:adam@cypherspace.org::McMybZIhxKXu57jd:ckvi", 20),
        ("1:52:380119:calvin@comics.net:::9B760005E92F0DAE", 53),
    ],
)
def test_published_stamps_of_other_tools(stamp: str, zeros: int) -> None:
    _, claim, date, resource, *_ = stamp.split(":")
    now = datetime.strptime(date[:6], "%y%m%d")
    assert leading_zero_bits(stamp) == zeros
    assert check(stamp, resource, int(claim), now)
    assert check(stamp, resource.upper(), 20, now + EXPIRY)
    assert not check(stamp, resource, int(claim) + 1, now)
    assert not check(stamp, "bar", 20, now)
    assert not check(stamp, resource, 20, now + EXPIRY + GRACE + timedelta(days=1))


@pytest.mark.parametrize("date_digits", [6, 10, 12])
@pytest.mark.parametrize("bits", [0, 1, 7, 10])
def test_minted_stamps_are_accepted(bits: int, date_digits: int) -> None:
    stamp = mint("API.example/v1 predict", bits, NOON, random="abc", date_digits=date_digits)
    assert stamp.startswith(f"1:{bits}:{'260310120000'[:date_digits]}:api.example/v1 predict::abc:")
    assert independent(stamp, "api.example/v1 predict", bits, NOON)
    assert check(stamp, "api.example/V1 predict", bits, NOON)
    assert check(stamp, "api.example/v1 predict", 0, NOON)
    assert not check(stamp, "api.example/v1 predict", bits + 1, NOON)


def test_now_and_random_text_are_chosen_unless_given() -> None:
    first, second = mint("alice", 8), mint("alice", 8)
    assert first.split(":")[5] != second.split(":")[5]
    assert check(first, "alice", 8) and check(second, "alice", 8)


def test_case_matters_only_where_it_is_said_to() -> None:
    stamp = mint("Alice", 6, NOON, random="0", case_sensitive=True)
    assert stamp.split(":")[3] == "Alice"
    assert check(stamp, "Alice", 6, NOON, case_sensitive=True) and check(stamp, "aLICE", 6, NOON)
    assert not check(stamp, "alice", 6, NOON, case_sensitive=True)


def test_letters_whose_lower_case_is_ascii_name_another_resource() -> None:
    kelvin = "\u212aate"
    assert kelvin.lower() == "kate"
    stamp = mint("kate", 4, NOON, random="0")
    assert check(stamp, "Kate", 4, NOON) and not check(stamp, kelvin, 4, NOON)


def test_a_claim_above_the_zero_bits_is_refused_even_where_enough_are() -> None:
    stamp = stamp_of("1:9:260310:alice::0", 5)
    assert 5 <= leading_zero_bits(stamp) < 9
    assert fault(stamp, "alice", 5, NOON) == "the digest has fewer zero bits than the stamp claims"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("0:4:260310:alice::0", "version"),
        ("2:4:260310:alice::0", "version"),
        ("01:4:260310:alice::0", "version"),
        (":4:260310:alice::0", "version"),
        ("1:4:260310:alice:0", "seven fields"),
        ("1:4:260310:alice:::0", "seven fields"),
        ("1:4:260310:bob::0", "another resource"),
        ("1:4:260310:alice ::0", "another resource"),
        ("1:3:260310:alice::0", "claims fewer than 4"),
        ("1:160:260310:alice::0", "fewer zero bits"),
        *((f"1:{claim}:260310:alice::0", "bits are not a number") for claim in ("", "04", "+4", " 4", "4.0")),
        *((f"1:{claim}:260310:alice::0", "bits are not a number") for claim in ("-4", "1000", "0x4", "4e0")),
        *((f"1:4:{date}:alice::0", "date is no") for date in ("", "261310", "260332", "260230", "260010")),
        *((f"1:4:{date}:alice::0", "date is no") for date in ("2603101", "26031", "26031012", "26031O")),
        *((f"1:4:{date}:alice::0", "date is no") for date in ("2603102400", "260310120060", "-60310")),
        ("1:4:20260310:alice::0", "date is no"),
        ("1:4:260310:alice::a b", "random text"),
        ("1:4:260310:alice::a_b", "random text"),
        ("1:4:260310:alice::0\n", "printable ASCII"),
        ("1:4:260310:alice:\x7f:0", "printable ASCII"),
        (f"1:4:260310:alice:{'x' * 1024}:0", "at most 1024"),
    ],
)
def test_faults_are_named(fields: str, reason: str) -> None:
    stamp = stamp_of(fields, 4)
    found = fault(stamp, "alice", 4, NOON)
    assert found is not None and reason in found


@pytest.mark.parametrize("date", ["٢٦٠٣١٠", "26031０", "²60310", "26031\u0660"])
def test_digits_of_other_alphabets_are_no_dates(date: str) -> None:
    assert date.isdigit()
    assert fault(f"1:0:{date}:alice::0:0", "alice", 0, NOON) is not None


@pytest.mark.parametrize("counter", ["", "a b", "é", "1\n", "a_b"])
def test_counters_are_of_the_alphabet(counter: str) -> None:
    assert fault(f"1:0:260310:alice::0:{counter}", "alice", 0, NOON) is not None


@pytest.mark.parametrize("junk", [None, 5, 1.0, True, b"1:0:260310:alice::0:0", ["1"], object(), "", ":" * 6])
def test_what_is_no_stamp_is_refused(junk: Any) -> None:
    assert not check(junk, "alice", 0, NOON)
    assert not check(type("Text", (str,), {})("1:0:260310:alice::0:0"), "alice", 0, NOON)


@pytest.mark.parametrize(
    ("date", "minted"),
    [
        ("260310", datetime(2026, 3, 10)),
        ("2603101137", datetime(2026, 3, 10, 11, 37)),
        ("260310113759", datetime(2026, 3, 10, 11, 37, 59)),
        ("240229", datetime(2024, 2, 29)),
        ("991231", datetime(2099, 12, 31)),
    ],
)
def test_grace_and_expiry_to_the_second(date: str, minted: datetime) -> None:
    stamp, second = f"1:0:{date}:alice::0:0", timedelta(seconds=1)
    assert check(stamp, "alice", 0, minted - GRACE)
    assert fault(stamp, "alice", 0, minted - GRACE - second) == "the stamp is from the future"
    for expiry in (EXPIRY, timedelta(hours=1), timedelta(0)):
        assert check(stamp, "alice", 0, minted + expiry + GRACE, expiry)
        late = minted + expiry + GRACE + second
        assert fault(stamp, "alice", 0, late, expiry) == "the stamp has expired"
        assert check(stamp, "alice", 0, late, None) and check(stamp, "alice", 0, late, timedelta.max)


def test_times_of_other_zones_are_the_same_instants() -> None:
    stamp = "1:0:2603101137:alice::0:0"
    edge = datetime(2026, 3, 10, 11, 37, tzinfo=UTC) - GRACE
    west, east = (edge.astimezone(timezone(timedelta(hours=hours))) for hours in (-11, 13))
    for now in (west, east):
        assert check(stamp, "alice", 0, now) and not check(stamp, "alice", 0, now - timedelta(seconds=1))
        assert mint("alice", 0, now, random="0", date_digits=12).split(":")[2] == "260308113700"


ALPHABET = "0123456789abcdefXYZ:::+/=_ -~\x00\n\x7fé\u0660\u212a"


def mutated(stamp: str, random: Random) -> str:
    i, j = random.randrange(len(stamp)), random.randrange(len(stamp))
    fields = stamp.split(":")
    a, b = random.randrange(7), random.randrange(7)
    fields[a], fields[b] = fields[b], fields[a]
    return random.choice(
        [
            stamp[:i] + random.choice(ALPHABET) + stamp[i + 1 :],
            stamp[:i] + random.choice(ALPHABET) + stamp[i:],
            stamp[:i] + stamp[i + 1 :],
            stamp[: min(i, j)] + stamp[max(i, j) :],
            stamp[:i].swapcase() + stamp[i:],
            stamp[:i] + stamp[i].swapcase() + stamp[i + 1 :],
            ":".join(fields),
        ]
    )


def test_mutated_stamps_are_judged_as_independently() -> None:
    """With a bit or two of work, some mutations are valid stamps again; with ten, hardly any is."""
    random, accepted = Random(4), {1: 0, 2: 0, 10: 0}
    for bits in accepted:
        stamp = mint("alice", bits, NOON, random="abc0", date_digits=10)
        for _ in range(3000):
            spoilt = mutated(stamp, random)
            if random.random() < 0.3:
                spoilt = mutated(spoilt, random) if spoilt.count(":") == 6 else spoilt
            assert check(spoilt, "alice", bits, NOON) is independent(spoilt, "alice", bits, NOON), spoilt
            accepted[bits] += spoilt != stamp and check(spoilt, "alice", bits, NOON)
    assert accepted[1] > accepted[2] > 100 and accepted[10] < 20


@settings(derandomize=True, deadline=None)
@given(
    st.text() | st.lists(st.text() | st.text("0123456789"), min_size=7, max_size=7).map(":".join),
    st.text(),
    st.integers(),
)
def test_no_text_raises(stamp: str, resource: str, bits: int) -> None:
    assert check(stamp, "alice", bits, NOON) is independent(stamp, "alice", bits, NOON)
    assert check(stamp, resource, bits, NOON) <= (resource.lower() in stamp.lower())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("bits", value) for value in (-1, 161, 1.0, True)),
        *(("date_digits", value) for value in (0, 8, 11)),
        *(("random", value) for value in ("", "a b", "a:b", "é", "_", "0" * 257)),
        *(("resource", value) for value in ("", "a:b", "é", "a\n", "a" * 513)),
        *(("now", value) for value in (datetime(1999, 12, 31), datetime(2100, 1, 1))),
    ],
)
def test_what_no_stamp_can_hold_is_named(option: str, value: Any) -> None:
    options: dict[str, Any] = {"resource": "alice", "bits": 0, "now": NOON} | {option: value}
    with pytest.raises(ValueError, match=f"^{option} must be "):
        mint(**options)


def test_the_longest_stamp_is_accepted() -> None:
    resource = "a" * 512
    assert check(mint(resource, 8, NOON, random="0" * 256, date_digits=12), resource, 8, NOON)


@pytest.mark.parametrize("parts", [1, 3])
def test_solutions_of_puzzles_are_stamps(parts: int) -> None:
    puzzle = HashcashPuzzle(b"challenge", 1500.0 * parts, parts, date="260310")
    assert puzzle.bits == 10
    solution = solve(puzzle, seed=2)
    assert verify(puzzle, solution)
    for part, nonce in enumerate(solution.nonces):
        stamp, resource = puzzle.stamp(part, nonce), puzzle.seed(part).hex()
        assert check(stamp, resource, puzzle.bits, NOON)
        assert independent(stamp, resource, puzzle.bits, NOON)
        assert not check(stamp, resource, puzzle.bits, NOON + EXPIRY + GRACE)
