"""Hashcash stamps of version 1 (Back 2002), which the proof-of-work paper uses and other tools check.

A stamp is `1:bits:date:resource:extension:random:counter`; its SHA-1 digest starts with `bits` zero bits.
Dates are UTC and of this century. Resources are in lower case, unless `case_sensitive` is set.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import ClassVar

import numpy as np

from pow.puzzles.base import Puzzle
from storage.identity import stable_id

EXPIRY = timedelta(days=28)
"""Time for which a stamp is valid."""

GRACE = timedelta(days=2)
"""Largest difference between two clocks."""

DIGEST_BITS = 160
LONGEST = 1024  # characters of a stamp
ALPHABET = re.compile(r"[a-zA-Z0-9+/=]+")
CLAIM = re.compile(r"0|[1-9][0-9]{0,2}")
DATE = re.compile(r"[0-9]{6}|[0-9]{10}|[0-9]{12}")


def leading_zero_bits(stamp: str) -> int:
    """Count the zero bits at the start of the SHA-1 digest of an ASCII stamp."""
    digest = int.from_bytes(hashlib.sha1(stamp.encode("ascii")).digest(), "big")
    return DIGEST_BITS - digest.bit_length()


def mint(
    resource: str,
    bits: int,
    now: datetime | None = None,
    *,
    random: str | None = None,
    date_digits: int = 6,
    case_sensitive: bool = False,
) -> str:
    """Find a stamp for the resource, with 2 ** bits tries on average.

    Args:
        resource: Printable ASCII text without colons; it is put in lower case unless `case_sensitive`.
        bits: Leading zero bits of the stamp's digest, 0 to 160.
        now: Date of the stamp, in UTC if it has no zone; default the present.
        random: Text that makes the stamp unique; drawn unless given.
        date_digits: 6, 10 or 12 digits date the stamp to the day, minute or second.
        case_sensitive: Whether the resource keeps its case.

    Raises:
        ValueError: No stamp can hold an argument; the message names it.
    """
    random = secrets.token_hex(8) if random is None else random
    _check_stamp_fields(resource, bits, random, date_digits)
    issued = _utc(now)
    if issued.year // 100 != 20:
        raise ValueError(f"now must be a time of this century; it is {now!r}")
    date = f"{issued:%y%m%d%H%M%S}"[:date_digits]
    return _find_counter(_stem(bits, date, resource if case_sensitive else resource.lower(), random), bits)


def _check_stamp_fields(resource: str, bits: int, random: str, date_digits: int) -> None:
    if type(bits) is not int or not 0 <= bits <= DIGEST_BITS:
        raise ValueError(f"bits must be a whole number between 0 and {DIGEST_BITS}; it is {bits!r}")
    if date_digits not in (6, 10, 12):
        raise ValueError(f"date_digits must be 6, 10 or 12; it is {date_digits!r}")
    if not ALPHABET.fullmatch(random) or len(random) > LONGEST // 4:
        raise ValueError(f"random must be up to {LONGEST // 4} letters, digits, + / or =; it is {random!r}")
    if not resource or not _printable(resource) or ":" in resource or len(resource) > LONGEST // 2:
        raise ValueError(
            f"resource must be printable ASCII text of up to {LONGEST // 2} characters without colons; "
            f"it is {resource!r}"
        )


def _stem(bits: int, date: str, resource: str, random: str) -> str:
    """Return a stamp without its counter."""
    return f"1:{bits}:{date}:{resource}::{random}:"


def _find_counter(stem: str, bits: int) -> str:
    """Return the stem with the first counter that gives its digest enough zero bits."""
    counter = 0
    while leading_zero_bits(f"{stem}{counter:x}") < bits:
        counter += 1
    return f"{stem}{counter:x}"


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _utc(time: datetime | None) -> datetime:
    """Return the time in UTC without a zone; None is the present, no zone means UTC."""
    if time is None or time.tzinfo is not None:
        return (time or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
    return time


def check(
    stamp: object,
    resource: str,
    bits: int,
    now: datetime | None = None,
    expiry: timedelta | None = EXPIRY,
    *,
    case_sensitive: bool = False,
) -> bool:
    """Tell whether the stamp pays `bits` for the resource at `now`; see `fault`."""
    return fault(stamp, resource, bits, now, expiry, case_sensitive=case_sensitive) is None


def fault(
    stamp: object,
    resource: str,
    bits: int,
    now: datetime | None = None,
    expiry: timedelta | None = EXPIRY,
    *,
    case_sensitive: bool = False,
) -> str | None:
    """Say why the stamp does not pay `bits` for the resource, or return None if it does. It never raises.

    The caller has to remember which stamps were spent.

    Args:
        stamp: Stamp that a client sent.
        resource: Resource that it must name.
        bits: Zero bits that it must claim and have.
        now: Time of the check, in UTC if it has no zone; default the present. The stamp's date may be GRACE
            later.
        expiry: The stamp expires this time and GRACE after its date; None means never.
        case_sensitive: Whether the case of the resource matters.
    """
    if type(stamp) is not str or len(stamp) > LONGEST or not _printable(stamp):
        return f"a stamp is printable ASCII text of at most {LONGEST} characters"
    fields = stamp.split(":")
    if len(fields) != 7:
        return "a stamp has seven fields"
    version, claim, date, named, _, random, counter = fields
    if version != "1":
        return "the version is not 1"
    if not _same_resource(named, resource, case_sensitive):
        return "the stamp is for another resource"
    # Random text may be empty: other tools take such stamps.
    if not ALPHABET.fullmatch(counter) or not ALPHABET.fullmatch(random or "0"):
        return "random text and counter are made of letters, digits, + / and ="
    return _claim_fault(stamp, claim, bits) or _date_fault(date, _utc(now), expiry)


def _same_resource(named: str, resource: str, case_sensitive: bool) -> bool:
    if case_sensitive or not resource.isascii():
        # Letters that are not ASCII may have a lower case that is, as the sign of the kelvin has.
        return named == resource
    return named.lower() == resource.lower()


def _claim_fault(stamp: str, claim: str, bits: int) -> str | None:
    if not CLAIM.fullmatch(claim):
        return "the claimed bits are not a number"
    if int(claim) < bits:
        return f"the stamp claims fewer than {bits} bits"
    if leading_zero_bits(stamp) < int(claim):
        return "the digest has fewer zero bits than the stamp claims"
    return None


def _minted(date: str) -> datetime | None:
    """Return the time that a stamp's date stands for, or None if there is no such time."""
    if not DATE.fullmatch(date):
        return None
    year, month, day, hour, minute, second = (int(date.ljust(12, "0")[i : i + 2]) for i in range(0, 12, 2))
    try:
        return datetime(2000 + year, month, day, hour, minute, second)
    except ValueError:
        return None


def _date_fault(date: str, now: datetime, expiry: timedelta | None) -> str | None:
    minted = _minted(date)
    if minted is None:
        return "the date is no YYMMDD, YYMMDDhhmm or YYMMDDhhmmss"
    if minted - now > GRACE:
        return "the stamp is from the future"
    if expiry is not None and now - minted - GRACE > expiry:
        return "the stamp has expired"
    return None


@stable_id("puzzle/hashcash")
@dataclass(frozen=True)
class HashcashPuzzle(Puzzle):
    """Asks for stamps whose resource is the part's seed in hex and whose counter is the nonce in hex.

    A stamp has whole bits. The difficulty of a part is rounded down to a power of two, so that nobody works
    more than was charged; `expected_hashes` is the rounded number. `verify` does not check when a stamp
    expires; whoever issues the challenge does. See Puzzle for the other arguments.

    Args:
        date: Date of the stamps, YYMMDD. With the day of issue, other tools accept them until they expire.
    """

    kind: ClassVar[str] = "hashcash"
    digest_bits: ClassVar[int] = DIGEST_BITS

    date: str = "000101"

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = type(self.date) is str and len(self.date) == 6 and _minted(self.date)
        self._require(valid, "date", "a day as YYMMDD")

    @property
    def bits(self) -> int:
        """Leading zero bits of each part's stamp."""
        return math.frexp(self.difficulty / self.parts)[1] - 1

    @cached_property
    def target(self) -> int:
        """The number that digests must stay below: they start with `bits` zero bits."""
        return 1 << (DIGEST_BITS - self.bits)

    @classmethod
    def granted(cls, difficulty: np.ndarray, parts: int) -> np.ndarray:
        """See Puzzle. Each part is rounded down to whole bits."""
        return parts * np.ldexp(1.0, np.frexp(difficulty / parts)[1] - 1)

    def stamp(self, part: int, nonce: int) -> str:
        """Return the stamp that a nonce stands for."""
        return f"{self._stem(part)}{nonce:x}"

    def _stem(self, part: int) -> str:
        return _stem(self.bits, self.date, self.seed(part).hex(), "0")

    def search(self, part: int, start: int, count: int) -> int | None:
        """See Puzzle."""
        copy, largest = hashlib.sha1(self._stem(part).encode()).copy, self.largest
        for nonce in range(start, start + count):
            state = copy()
            state.update(b"%x" % nonce)
            if state.digest() <= largest:
                return nonce
        return None
