"""The kernel hashes many nonces at once by SHA-256 (FIPS 180-4) with PyTorch, on a CPU or a GPU.

A try hashes a part's 32-byte seed and an 8-byte nonce. These 40 bytes and the padding fill one block of
sixteen 32-bit words. Each lane tries one nonce, in int32, whose additions wrap as the standard's do. Lanes
differ only in the nonce's lower word, so the rounds before it are computed once per batch, in plain numbers.
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
"""Nonces in a call (on a CPU for each thread): some milliseconds of work, far above a call's overhead."""

LOW_WORD = 9
"""Index of the nonce's lower word in the block: the first round whose input differs between lanes."""


def _signed(word: int) -> int:
    """Return a number modulo 2^32, as int32 holds it."""
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
    """Return the first 32 bits of the fraction of a number's square or cube root (`power` 2 or 3).

    Whole numbers alone are used, so that every bit is exact.
    """
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
    """Reduce a plain number modulo 2^32; int32 tensors wrap by themselves."""
    return _signed(word) if isinstance(word, int) else word


def _shift(word: Word, by: int) -> Word:
    """Shift right and fill with zeros; int32's own shift fills with the sign."""
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
    """Extend the block's sixteen words to those of all 64 rounds."""
    words = list(block)
    for i in range(16, 64):
        near, far = words[i - 2], words[i - 15]
        mixed = (_rotate(far, 7) ^ _rotate(far, 18) ^ _shift(far, 3)) + (
            _rotate(near, 17) ^ _rotate(near, 19) ^ _shift(near, 10)
        )
        words.append(_wrap(words[i - 16] + words[i - 7] + mixed))
    return words


def shared_state(prefix: Sequence[int], high: int) -> list[Word]:
    """Compute the state before the round of the nonce's lower word, which all lanes share."""
    state: list[Word] = list(INITIAL)
    for word, constant in zip([*prefix, high], ROUND, strict=False):
        state = _round(state, word, constant)
    return state


def digests(prefix: Sequence[Word], high: Word, low: Tensor, state: Sequence[Word]) -> list[Word]:
    """Hash a seed with many nonces that share their higher word.

    Args:
        prefix: The seed's eight words.
        high: The nonces' higher word.
        low: The nonces' lower words, int32 `[n]`.
        state: `shared_state(prefix, high)`.

    Returns:
        The digests' eight words, int32 `[n]` each.
    """
    words = _schedule([*prefix, high, low, *PADDING])
    for word, constant in zip(words[LOW_WORD:], ROUND[LOW_WORD:], strict=True):
        state = _round(state, word, constant)
    return [_wrap(word + initial) for word, initial in zip(state, INITIAL, strict=True)]


def _may_win(block: Tensor, state: Tensor, low: Tensor, largest: Tensor, lanes: Tensor) -> Tensor:
    """Tell which nonces have a digest whose first word is at most `largest`: bool `[n]`.

    `block` holds the seed's words and the nonces' higher word; low + lanes are their lower words. Both sides
    of the comparison have their top bit flipped, so that signed numbers compare as unsigned ones.
    """
    *prefix, high = block.unbind()
    return (digests(prefix, high, low + lanes, state.unbind())[0] ^ -(2**31)) <= largest


@cache
def compiled() -> Callable[..., Tensor]:
    """Return `_may_win`, to be compiled as a single loop: unfused it is half as fast or less."""
    if not torch.cuda.is_available():
        # The compiler warns of every CUDA toolkit that it finds on a machine without a card.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    return torch.compile(_may_win, dynamic=False, fullgraph=True, options={"max_fusion_size": 100_000})


def prefix_words(seed: bytes) -> list[int]:
    """Split a 32-byte seed into eight signed words."""
    return [int.from_bytes(seed[i : i + 4], "big", signed=True) for i in range(0, 32, 4)]


def batch_size(device: torch.device) -> int:
    """Return the number of nonces in a call on the device: a power of two, at most 2^32."""
    if device.type != "cpu":
        return BATCH[device.type]
    return BATCH["cpu"] << (torch.get_num_threads() - 1).bit_length()


class BatchSearch:
    """Searches the nonces of a sha256 puzzle in batches; hashlib confirms each nonce that it finds.

    Args:
        puzzle: Puzzle to solve.
        device: PyTorch's name of the device.
        compile_kernel: Whether to compile the kernel now. That takes a minute, or seconds if PyTorch's cache
            holds it.

    Raises:
        RuntimeError: PyTorch cannot compile, for example without a C++ compiler.
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
        """Search as Puzzle.search does; whole batches are computed, and other nonces in them ignored."""
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
        """Return in order the lanes, of the batch from nonce `first` on, whose digest may be small enough."""
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
    """Return the device on which PyTorch hashes fastest."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def searcher(puzzle: Puzzle, device: str) -> tuple[Callable[[int, int, int], int | None], int]:
    """Choose the fastest search on a device for a puzzle of this size.

    Args:
        puzzle: A sha256 puzzle. From COMPILES_FROM expected hashes on, the kernel is compiled for it.
        device: "cpu" uses hashlib's loop for smaller puzzles, "cuda" the kernel without compilation.

    Returns:
        The search, and the hashes that it tries between two checks of the limits.

    Raises:
        ValueError: The puzzle is of another kind, or there is no such device.
        RuntimeError: PyTorch cannot compile.
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
    """Return the device's type; raise ValueError unless BATCH has it and the machine has the device."""
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
