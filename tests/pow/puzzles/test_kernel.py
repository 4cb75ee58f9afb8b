"""SHA-256 with PyTorch against hashlib."""

from __future__ import annotations

import hashlib
from random import Random

import pytest
import torch

from pow.puzzles import Argon2idPuzzle, HashcashPuzzle, Sha256Puzzle, kernel, solve, verify
from pow.puzzles.kernel import BatchSearch
from pow.puzzles.solvers import Search
from support.devices import DEVICES

HIGH_WORDS = (0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
LOW_WORDS = (0, 1, 2**16, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1)
EDGES = (0, 1, 4095, 12_345, 2**32 - 700, 2**32, 5 * 2**32 - 1, 2**62 - 700, 2**63 - 700)
"""Where searches start: some cross the end of a batch, of the lower word, or of the largest start."""


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BATCH", {"cpu": 512, "cuda": 1024})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


def unsigned_bytes(words: list[torch.Tensor]) -> list[bytes]:
    """A digest of 32 bytes for each lane."""
    lanes = torch.stack(words, 1).cpu().numpy()
    return [lane.astype(">i4").tobytes() for lane in lanes]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tensors", [False, True], ids=["numbers", "tensors"])
def test_digests_are_those_of_hashlib(device: str, tensors: bool) -> None:
    """Also with all words in tensors, as the compiled kernel has them."""
    random = Random(5)
    for high in [*HIGH_WORDS, *(random.randrange(2**32) for _ in range(3))]:
        seed = random.choice([bytes(32), b"\xff" * 32, random.randbytes(32), random.randbytes(32)])
        low = [*LOW_WORDS, *(random.randrange(2**32) for _ in range(50))]
        lanes = torch.tensor(low, dtype=torch.int64).to(torch.int32).to(device)
        prefix = kernel.prefix_words(seed)
        signed = high - 2**32 * (high >= 2**31)
        state = kernel.shared_state(prefix, signed)
        if tensors:
            block = torch.tensor([*prefix, signed], dtype=torch.int32, device=device).unbind()
            words = torch.tensor(state, dtype=torch.int32, device=device).unbind()
            found = kernel.digests(block[:8], block[8], lanes, words)
        else:
            found = kernel.digests(prefix, signed, lanes, state)
        nonces = [high << 32 | word for word in low]
        expected = [hashlib.sha256(seed + nonce.to_bytes(8, "big")).digest() for nonce in nonces]
        assert unsigned_bytes([word for word in found if isinstance(word, torch.Tensor)]) == expected


def test_constants_are_fractions_of_roots() -> None:
    """The first and last that FIPS 180-4 prints."""
    unsigned = [word % 2**32 for word in kernel.INITIAL + kernel.ROUND]
    assert unsigned[:8:7] == [0x6A09E667, 0x5BE0CD19]
    assert unsigned[8::63] == [0x428A2F98, 0xC67178F2]


def winners(search: Search, part: int, start: int, count: int) -> list[int]:
    """All, by searching on behind each."""
    found, first = [], start
    while (nonce := search(part, first, start + count - first)) is not None:
        found.append(nonce)
        first = nonce + 1
        if first == start + count:
            break
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("start", EDGES)
def test_batches_find_the_winners_of_the_plain_loop(device: str, start: int) -> None:
    puzzle = Sha256Puzzle(b"challenge", 300.0, 2)
    search = BatchSearch(puzzle, device, compile_kernel=False)
    assert search.batch == 1024
    for part in range(2):
        expected = winners(puzzle.search, part, start, 1500)
        assert len(expected) > 2
        assert winners(search, part, start, 1500) == expected
        # One nonce short of a winner there is none, with it there is one.
        for nonce in expected[:2]:
            assert search(part, nonce, 1) == nonce
            before = max(start, nonce - 5)
            assert search(part, before, nonce - before) == puzzle.search(part, before, nonce - before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("difficulty", [1.0, 1.9, 2.0, 2.1, 2.0**31, 2.0**56])
def test_the_first_word_is_compared_as_an_unsigned_number(device: str, difficulty: float) -> None:
    puzzle = Sha256Puzzle(b"challenge", difficulty)
    for first in (1024 * 7, 2**63 - 1024):
        search = BatchSearch(puzzle, device, compile_kernel=False)
        lanes = search._candidates(kernel.prefix_words(puzzle.seed(0)), first)
        words = [
            hashlib.sha256(puzzle.seed(0) + (first + lane).to_bytes(8, "big")).digest()[:4]
            for lane in range(1024)
        ]
        assert lanes == [lane for lane, word in enumerate(words) if word <= puzzle.largest[:4]]
        for bound in words[:9]:
            search.largest = search._words(int.from_bytes(bound, "big") - 2**31)
            lanes = search._candidates(kernel.prefix_words(puzzle.seed(0)), first)
            assert lanes == [lane for lane, word in enumerate(words) if word <= bound]


@pytest.mark.slow  # it compiles for minutes of a core; the tests above have the same steps uncompiled
@pytest.mark.parametrize("device", DEVICES)
def test_compiled_batches_find_the_winners_of_the_plain_loop(device: str) -> None:
    puzzle = Sha256Puzzle(b"challenge", 200.0, 2)
    search = BatchSearch(puzzle, device, compile_kernel=True)
    for start in EDGES:
        for part in range(2):
            assert winners(search, part, start, 3000) == winners(puzzle.search, part, start, 3000)


def test_batches_are_powers_of_two_for_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, batch in ((1, 512), (2, 1024), (3, 2048), (4, 2048), (48, 512 * 64)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert kernel.batch_size(torch.device("cpu")) == batch
    assert kernel.batch_size(torch.device("cuda:1")) == 1024


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_small_puzzles_are_not_compiled_for(device: str) -> None:
    puzzle = Sha256Puzzle(b"challenge", 300.0)
    assert kernel.searcher(puzzle, device) == (puzzle.search, puzzle.chunk)
    assert solve(puzzle, device=device) == solve(puzzle, workers=1)


@pytest.mark.parametrize("device", DEVICES)
def test_large_puzzles_are_compiled_for(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "COMPILES_FROM", 300)
    monkeypatch.setattr(kernel, "compiled", lambda: kernel._may_win)
    puzzle = Sha256Puzzle(b"challenge", 300.0)
    search, chunk = kernel.searcher(puzzle, device)
    assert isinstance(search, BatchSearch) and chunk == search.batch == 1024
    solution = solve(puzzle, device=device)
    assert solution == solve(puzzle, workers=1)
    assert verify(puzzle, solution)


@pytest.mark.parametrize("device", ["tpu", "", "mps", "meta", "cuda:99", "cpu,cuda"])
def test_devices_that_are_not_there_are_named(device: str) -> None:
    with pytest.raises(ValueError, match=r"^device (must be one of cpu, cuda; it )?is '"):
        solve(Sha256Puzzle(b"challenge", 300.0), device=device)


@pytest.mark.parametrize("kind", [HashcashPuzzle, Argon2idPuzzle])
def test_other_kinds_are_refused(kind: type[HashcashPuzzle | Argon2idPuzzle]) -> None:
    with pytest.raises(ValueError, match=f"device must be None for a puzzle of kind {kind.kind}"):
        solve(kind(b"challenge", 300.0), device="cpu")
