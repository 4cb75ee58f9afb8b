"""A client of a gate: asks, solves the puzzle, redeems it.

Client("http://127.0.0.1:8000", key).predict(images)
"""

from __future__ import annotations

import asyncio
import math
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx
import numpy as np

from gate import protocol
from gate.kept import Forgetful, Kept, Solved
from gate.sending import Reply
from gate.steps import Call, Exchange, Model, Opened, Receipt, Refused, Solve, Step, TooExpensive, Willing
from pow.puzzles import Puzzle, Solution, Unsolved, solve

__all__ = [
    "AsyncClient",
    "Client",
    "Model",
    "Opened",
    "Receipt",
    "Refused",
    "Solved",
    "TooExpensive",
    "Willing",
]

SHOWN_FROM = 1e7
"""Expected hashes, for SHA-256 some seconds of a core, from which the time is shown, on a terminal."""


def _solved(step: Solve, willing: Willing) -> Solution | None:
    """Solve a puzzle, or return None where its challenge expires before; raises TooExpensive."""
    own = math.inf if willing.solve_seconds is None else willing.solve_seconds
    seconds = min(own, step.seconds)
    if step.seconds <= 0:
        return None
    with _bar(step.puzzle):
        try:
            return solve(step.puzzle, willing.workers, timeout=None if math.isinf(seconds) else seconds)
        except Unsolved as error:
            if step.seconds < own:
                return None
            raise TooExpensive(f"{error}, of {step.puzzle.expected_hashes:,.0f} expected") from error


@contextmanager
def _bar(puzzle: Puzzle) -> Iterator[None]:
    """On a terminal, the time that long work has taken; how long it takes yet, nobody can tell."""
    if puzzle.expected_hashes < SHOWN_FROM or not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    done = threading.Event()
    bar = tqdm(unit="s", desc=f"solving some {puzzle.expected_hashes:,.0f} hashes", leave=False)

    def advance() -> None:
        while not done.wait(0.5):
            bar.update(0.5)

    thread = threading.Thread(target=advance, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        bar.close()


def _connection(
    url: str, key: str | None, timeout: float, ca: str | Path | None, proxy: str | None
) -> dict[str, Any]:
    """What a connection to a gate needs; raises ValueError for what is no address, no key and so on."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not the address of a gate: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError(f"the address of a gate begins with http:// or https://, unlike {url!r}")
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("an API key has ASCII letters, digits and signs only")
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    here = address.host == "localhost" or address.host.startswith("127.") or address.host == "::1"
    return {
        "base_url": address,
        "headers": headers,
        "timeout": timeout,
        "verify": _authorities(ca),
        "proxy": _proxy(proxy),
        "trust_env": not here,  # the environment's proxy is for other hosts
    }


def _authorities(ca: str | Path | None) -> ssl.SSLContext:
    """The certificate authorities that are trusted; raises ValueError for a file that holds none."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ValueError(f"{ca} holds no certificates: {error}") from error


def _proxy(proxy: str | None) -> httpx.Proxy | None:
    try:
        return None if proxy is None else httpx.Proxy(proxy)
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"{proxy!r} is not the address of a proxy: {error}") from error


class _Asking:
    """What both clients are made of; see Client."""

    connected: ClassVar[Callable[..., Any]]
    """Makes the connections, from httpx's options."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        willing: Willing | None = None,
        timeout: float = 60.0,
        ca: str | Path | None = None,
        proxy: str | None = None,
        keep: Path | None = None,
    ) -> None:
        self.willing = willing or Willing()
        self.kept = Kept(keep, url, key) if keep is not None and key is not None else None
        self.http: Any = type(self).connected(**_connection(url, key, timeout, ca, proxy))


class Client(_Asking):
    """Asks a gate as one account. `willing` says how much work it does; see Willing.

    Without a key it can open an account. A request whose reply is lost is sent again and booked once.

    Args:
        url: Address of the gate.
        key: API key of the account.
        willing: Work that the client does.
        timeout: Seconds that the gate may take for a step of a reply.
        ca: File with the certificate authorities to trust instead of the system's.
        proxy: Address of a proxy; else the environment's, but for a gate on this machine.
        keep: Folder in which work is kept until it is answered. A client that was killed goes on with it
            when it is asked the same again, and pays once.

    Raises:
        ValueError: What is given is no address, key, proxy or file of certificates.
        Refused: By each method, with the gate's reason: `unreachable` where nothing answers after the
            retries, `untrusted` or `no_tls` where TLS fails. `solved` holds work that was done in vain.
        TooExpensive: By each method that solves.
    """

    http: httpx.Client
    connected = httpx.Client

    def model(self) -> Model:
        """What the gate serves."""
        model: Model = self._carry_out(protocol.describe(self.willing))
        return model

    def open_account(self) -> Opened:
        """Open an account by work; needs no key."""
        opened: Opened = self._carry_out(protocol.open_account(self.willing))
        return opened

    def request(self, images: np.ndarray, kept: Forgetful | None = None) -> Receipt:
        """The answer to one request, and its price.

        Args:
            images: The request's images, float32 in [0, 1] or uint8, `[n, c, h, w]`.
            kept: Keeps this request's work, instead of the client's own folder.
        """
        receipt: Receipt = self._carry_out(protocol.request(images, self.willing, kept or self.kept))
        return receipt

    def redeem(self, solved: Solved) -> np.ndarray:
        """The answer for a solution that was not redeemed, which a Refused holds."""
        answer: np.ndarray = self._carry_out(protocol.redeem(solved, self.willing))
        return answer

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Answers to any number of images, request by request: probabilities, or labels."""
        parts = protocol.chunks(images, self.model().largest_batch)
        return np.concatenate([self.request(part).answer for part in parts])

    def _carry_out(self, talk: Exchange) -> Any:
        try:
            step = next(talk)
            while True:
                step = talk.send(self._do(step))
        except StopIteration as end:
            return end.value

    def _do(self, step: Step) -> Any:
        match step:
            case Call():
                asking = self.http.stream(step.method, step.path, content=step.content, headers=step.headers)
                try:
                    with asking as response:
                        reply = Reply(response)
                        for part in response.iter_bytes():
                            reply.take(part)
                        return reply.whole()
                except httpx.RequestError as error:
                    return error
            case Solve():
                return _solved(step, self.willing)
            case seconds:
                return time.sleep(seconds)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Asking):
    """As Client, for asyncio; puzzles are solved in threads."""

    http: httpx.AsyncClient
    connected = httpx.AsyncClient

    async def model(self) -> Model:
        """See Client."""
        model: Model = await self._carry_out(protocol.describe(self.willing))
        return model

    async def open_account(self) -> Opened:
        """See Client."""
        opened: Opened = await self._carry_out(protocol.open_account(self.willing))
        return opened

    async def request(self, images: np.ndarray, kept: Forgetful | None = None) -> Receipt:
        """See Client."""
        talk = protocol.request(images, self.willing, kept or self.kept)
        receipt: Receipt = await self._carry_out(talk)
        return receipt

    async def redeem(self, solved: Solved) -> np.ndarray:
        """See Client."""
        answer: np.ndarray = await self._carry_out(protocol.redeem(solved, self.willing))
        return answer

    async def predict(self, images: np.ndarray) -> np.ndarray:
        """See Client; requests are made one after the other."""
        parts = protocol.chunks(images, (await self.model()).largest_batch)
        return np.concatenate([(await self.request(part)).answer for part in parts])

    async def _carry_out(self, talk: Exchange) -> Any:
        try:
            step = next(talk)
            while True:
                step = talk.send(await self._do(step))
        except StopIteration as end:
            return end.value

    async def _do(self, step: Step) -> Any:
        match step:
            case Call():
                asking = self.http.stream(step.method, step.path, content=step.content, headers=step.headers)
                try:
                    async with asking as response:
                        reply = Reply(response)
                        async for part in response.aiter_bytes():
                            reply.take(part)
                        return reply.whole()
                except httpx.RequestError as error:
                    return error
            case Solve():
                return await asyncio.to_thread(_solved, step, self.willing)
            case seconds:
                return await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def read_image(path: Path, image_shape: tuple[int, int, int]) -> np.ndarray:
    """A picture as a query uint8 `[1, c, h, w]`: grey or colour, and of the size that the gate takes.

    It is decoded as the images are that models are trained on. Raises ValueError where it cannot be.
    """
    from storage.pictures import open_picture, pixels_of  # here, since only pictures need Pillow

    channels, height, width = image_shape
    pixels = pixels_of(open_picture(path, str(path)), (height, width), channels)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)[None].copy()


def sentences(receipt: Receipt, model: Model) -> list[str]:
    """The first image's label, or its five most probable classes, and what the answer was paid with."""
    answer = receipt.answer[0]
    if receipt.answer.ndim == 1:
        lines = [model.name_of(int(answer))]
    else:
        best = np.argsort(-answer, kind="stable")[:5]
        names = [model.name_of(int(label)) for label in best]
        width = max(map(len, names))
        lines = [
            f"{name:{width}}  {100 * answer[label]:6.2f} %" for name, label in zip(names, best, strict=True)
        ]
    return [*lines, f"paid with {receipt.tried_hashes:,} hashes in {receipt.solve_seconds:.2f} s"]
