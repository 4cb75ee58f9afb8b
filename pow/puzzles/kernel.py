"""SHA-256 of many nonces at once with PyTorch (FIPS 180-4), on a processor or a graphics card.

A try hashes a part's 32-byte seed and an 8-byte nonce: 40 bytes and the padding are a single block of sixteen
32-bit words. Lanes are int32, whose additions wrap as the standard's do. Only the nonce's lower word differs
between lanes, so the rounds before it are computed once a batch, with plain numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from pow.puzzles.base import Puzzle
from pow.puzzles.sha256 import COMPILES_FROM, Sha256Puzzle

log = logging.getLogger(__name__)

BATCH = {"cpu": 1 << 17, "cuda": 1 << 24}
"""Nonces a call, for each thread of a processor: some milliseconds of work, far above what a call costs."""

LOW_WORD = 9
"""Where the nonce's lower word stands in the block: the first round whose input differs between lanes."""


def _signed(word: int) -> int:
    """A number modulo 2^32 as int32 holds it."""
    word &= 0xFFFFFFFF
    return word - 2**32 if word >= 2**31 else word


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _root_fraction(number: int, power: int) -> int:
    """First 32 bits of the fraction of the number's square or cube root, by whole numbers alone."""
    scaled = number << (32 * power)
    low, high = 0, 1 << 48
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**power <= scaled else (low, middle)
    return _signed(low)


INITIAL = [_root_fraction(prime, 2) for prime in _primes(8)]
ROUND = [_root_fraction(prime, 3) for prime in _primes(64)]
PADDING = [-(2**31), 0, 0, 0, 0, 40 * 8]

Word = Tensor | int
"""32 bits: int32 lanes, or a number that all lanes share."""


def _wrap(word: Word) -> Word:
    """Modulo 2^32, as tensors are by themselves."""
    return _signed(word) if isinstance(word, int) else word


def _shift(word: Word, by: int) -> Word:
    """Right shift that fills with zeros; int32's own fills with the sign."""
    return (word >> by) & ((1 << (32 - by)) - 1)


def _rotate(word: Word, by: int) -> Word:
    return _wrap((word << (32 - by)) | _shift(word, by))


def _round(state: Sequence[Word], word: Word, constant: int) -> list[Word]:
    a, b, c, d, e, f, g, h = state
    choice = g ^ (e & (f ^ g))
    majority = (a & b) | (c & (a | b))
    first = h + (_rotate(e, 6) ^ _rotate(e, 11) ^ _rotate(e, 25)) + choice + (word + constant)
    second = (_rotate(a, 2) ^ _rotate(a, 13) ^ _rotate(a, 22)) + majority
    return [_wrap(first + second), a, b, c, _wrap(d + first), e, f, g]


def _schedule(block: Sequence[Word]) -> list[Word]:
    """The words of all 64 rounds, of the block's sixteen."""
    words = list(block)
    for i in range(16, 64):
        near, far = words[i - 2], words[i - 15]
        mixed = (_rotate(far, 7) ^ _rotate(far, 18) ^ _shift(far, 3)) + (
            _rotate(near, 17) ^ _rotate(near, 19) ^ _shift(near, 10)
        )
        words.append(_wrap(words[i - 16] + words[i - 7] + mixed))
    return words


def shared_state(prefix: Sequence[int], high: int) -> list[Word]:
    """The state before the round of the nonce's lower word: the same for all lanes."""
    state: list[Word] = list(INITIAL)
    for word, constant in zip([*prefix, high], ROUND, strict=False):
        state = _round(state, word, constant)
    return state


def digests(prefix: Sequence[Word], high: Word, low: Tensor, state: Sequence[Word]) -> list[Word]:
    """Eight words: the digests of a seed's words, a nonce's higher word and lower words, int32 `[n]` each.

    `state` is what `shared_state` gives for prefix and high.
    """
    words = _schedule([*prefix, high, low, *PADDING])
    for word, constant in zip(words[LOW_WORD:], ROUND[LOW_WORD:], strict=True):
        state = _round(state, word, constant)
    return [_wrap(word + initial) for word, initial in zip(state, INITIAL, strict=True)]


def _may_win(block: Tensor, state: Tensor, low: Tensor, largest: Tensor, lanes: Tensor) -> Tensor:
    """Bool `[n]`: which nonces have a digest whose first word is at most `largest`.

    `block` holds the seed's words and the nonce's higher word, low + lanes are its lower words. Both sides
    of the comparison have their top bit flipped: signed numbers then compare as unsigned ones.
    """
    *prefix, high = block.unbind()
    return (digests(prefix, high, low + lanes, state.unbind())[0] ^ -(2**31)) <= largest


@cache
def compiled() -> Callable[..., Tensor]:
    """The search's inner step, to be compiled as a single loop: unfused it is half as fast or less."""
    if not torch.cuda.is_available():
        # The compiler warns of every CUDA toolkit that it finds on a machine without a card.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    return torch.compile(_may_win, dynamic=False, fullgraph=True, options={"max_fusion_size": 100_000})


def prefix_words(seed: bytes) -> list[int]:
    """A 32-byte seed as eight signed words."""
    return [int.from_bytes(seed[i : i + 4], "big", signed=True) for i in range(0, 32, 4)]


def batch_size(device: torch.device) -> int:
    """Nonces a call on the device: a power of two, at most 2^32."""
    if device.type != "cpu":
        return BATCH[device.type]
    return BATCH["cpu"] << (torch.get_num_threads() - 1).bit_length()


class BatchSearch:
    """Searches nonces of a sha256 puzzle on a device, a batch a call; hashlib confirms what it finds.

    With `compile_kernel` the constructor compiles for a minute, or for seconds when PyTorch's cache knows the
    kernel. It raises RuntimeError where PyTorch cannot compile, as without a C++ compiler.
    """

    def __init__(self, puzzle: Sha256Puzzle, device: str, compile_kernel: bool) -> None:
        self.puzzle, self.device = puzzle, torch.device(device)
        self.batch = batch_size(self.device)
        self.lanes = torch.arange(self.batch, dtype=torch.int32, device=self.device)
        self.largest = self._words(int.from_bytes(puzzle.largest[:4], "big") - 2**31)
        self.step: Callable[..., Tensor] = _may_win
        if compile_kernel:
            log.info("compiling SHA-256 for %s; it takes a minute when PyTorch's cache is cold", device)
            self.step = compiled()
            self._candidates([0] * 8, 0)

    def _words(self, words: int | Sequence[Word]) -> Tensor:
        return torch.tensor(words, dtype=torch.int32, device=self.device)

    def __call__(self, part: int, start: int, count: int) -> int | None:
        """As Puzzle.search. Whole batches are computed, of which the `count` nonces are looked at."""
        prefix = prefix_words(self.puzzle.seed(part))
        end = start + count
        # Batches start at multiples of their size, so that the nonce's higher word is one within each.
        for first in range(start - start % self.batch, end, self.batch):
            for lane in self._candidates(prefix, first):
                nonce = first + lane
                if start <= nonce < end and self.puzzle.accepts(part, nonce):
                    return nonce
        return None

    def _candidates(self, prefix: list[int], first: int) -> list[int]:
        """Lanes of the batch from `first` on whose digest's first word is small enough, in order."""
        high, low = _signed(first >> 32), _signed(first)
        hits = self.step(
            self._words([*prefix, high]),
            self._words(shared_state(prefix, high)),
            self._words(low),
            self.largest,
            self.lanes,
        )
        lanes: list[int] = hits.nonzero().flatten().tolist()
        return lanes


def best_device() -> str:
    """Where PyTorch hashes fastest."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def searcher(puzzle: Puzzle, device: str) -> tuple[Callable[[int, int, int], int | None], int]:
    """The fastest search on the device for a puzzle of this size, and its chunk.

    On "cpu" that is the plain loop below COMPILES_FROM expected hashes, and the compiled kernel from there
    on; on "cuda" the kernel, compiled from there on. Raises ValueError for other puzzles and devices, and
    RuntimeError as BatchSearch does.
    """
    if not isinstance(puzzle, Sha256Puzzle):
        raise ValueError(
            f"device must be None for a puzzle of kind {puzzle.kind}; PyTorch solves sha256 only"
        )
    kind = _checked_type(device)
    large = puzzle.expected_hashes >= COMPILES_FROM
    if kind == "cpu" and not large:
        return puzzle.search, puzzle.chunk
    search = BatchSearch(puzzle, device, large)
    return search, search.batch


def _checked_type(device: str) -> str:
    """The device's type; ValueError unless it is one of BATCH's and there."""
    try:
        named = torch.device(device)
    except RuntimeError:
        named = None
    if named is None or named.type not in BATCH:
        raise ValueError(f"device must be one of {', '.join(BATCH)}; it is {device!r}")
    if named.type == "cuda" and (named.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {device!r}, but PyTorch finds {torch.cuda.device_count()} CUDA devices here"
        )
    return named.type
