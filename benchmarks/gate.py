"""How much time the gate adds to the model behind it when there is no work (difficulty 1).

    python -m benchmarks.gate [--requests 1000] [--connections 8]
    python -m benchmarks.gate --kill 50
    python -m benchmarks.gate --pending 100000
    python -m benchmarks.gate --strangers 1000

The model alone is an endpoint of the same framework with the same body and the same function. A request to
the gate is a whole exchange: two requests over HTTP. Times are those of one connection, rates those of
several at once. The servers take turns, each in a process of its own, and share the machine with the clients.
`full` and `normal` are SQLite's ways to commit: `normal` does not wait for the disk.

`--kill` instead kills a gate under load so many times, and checks its ledger (see
tests/gate/test_gate_killed.py).

`--pending` instead lets one account ask so many times, over several connections, without solving anything.
The gate has the limits that a server has by default. An honest user's exchanges are timed before, meanwhile
and after.

`--strangers` opens so many connections without a key that stay silent, then so many that send a byte of a
header every second; who is closed comes again after a second on average, each at a moment of its own.
They take what the machine has left, as if they were elsewhere. An honest user's exchanges are timed before,
meanwhile and after.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from rich.console import Console
from rich.table import Table

from gate.gate import Asked, Gate
from gate.ledgers.base import Account, Limits
from gate.ledgers.sqlite import Synchronous
from gate.payloads import as_json, decode
from gate.protocol import encode
from gate.steps import NPY
from pow.calibration.constant import ConstantCalibration
from pow.puzzles import PuzzleSettings, Sha256Puzzle

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # the gate of the tests is measured

from support.gates.killed import kill_again_and_again
from support.gates.server import (
    FREE,
    IMAGE_SHAPE,
    LARGEST_BATCH,
    METER,
    add_accounts,
    free_port,
    predict,
    process_serving,
    random_images,
    small_app,
    small_ledger,
    small_service,
    wait_for,
)

IMAGES = random_images(1)
SERVICE: dict[str, Any] = {
    "calibration": ConstantCalibration(FREE, each=1.0, request_size=LARGEST_BATCH, reference_rate=1.0),
    "puzzle": PuzzleSettings(Sha256Puzzle),
}
NONCES = [0]
"""A solution; at difficulty 1 any nonce is one."""

DEFAULT_LIMITS = Limits(pending=64, requests_a_minute=600)
"""The limits of conf/serve.yaml."""

HONEST_REQUESTS = 200
"""Exchanges of the honest user before, meanwhile and after; together they stay below the minute's limit."""

ROUNDS = 5
"""Rounds in which the servers take turns."""

Talk = Callable[[http.client.HTTPConnection], None]
"""Asks for one answer over a connection."""


def bare_app() -> FastAPI:
    """Build a service of the model without a gate."""
    app = FastAPI()

    @app.post("/v1/predict")
    async def ask(request: Request) -> Response:
        images = decode(await request.body(), request.headers["content-type"], IMAGE_SHAPE, LARGEST_BATCH)
        return JSONResponse(as_json(await run_in_threadpool(predict, images)))

    return app


def post(connection: http.client.HTTPConnection, path: str, body: bytes, key: str, expected: int) -> bytes:
    """Send a request, check the status, and return the body of the response."""
    connection.request("POST", path, body, {"Content-Type": NPY, "Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    content = response.read()
    assert response.status == expected, content
    return content


def ask_the_model(connection: http.client.HTTPConnection) -> None:
    """Ask the model without a gate for one answer."""
    post(connection, "/v1/predict", encode(IMAGES), "", 200)


def ask_the_gate(key: str, connection: http.client.HTTPConnection) -> None:
    """Ask the gate for one answer: get a challenge, and redeem it."""
    said = json.loads(post(connection, "/v1/predict", encode(IMAGES), key, 402))
    solution = {"challenge": said["challenge"], "nonces": NONCES}
    post(connection, "/v1/redeem", json.dumps(solution).encode(), key, 200)


def durations(talk: Talk, port: int, count: int) -> list[float]:
    """Return the seconds of `count` requests, one after another."""
    seconds = []
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        for _ in range(count):
            started = time.perf_counter()
            talk(connection)
            seconds.append(time.perf_counter() - started)
    return seconds


def rate(talk: Talk, port: int, count: int, connections: int) -> float:
    """Return the requests per second over several connections at once."""
    each = -(-count // connections)
    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(lambda _: durations(talk, port, each), range(connections)))
    return each * connections / (time.perf_counter() - started)


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, tuple[Talk, int]]]:
    """Start the servers; yield for each how to ask it, and its port."""
    with ExitStack() as stack:
        asked: dict[str, tuple[Talk, int]] = {"model alone": (ask_the_model, free_port())}
        stack.enter_context(process_serving(bare_app, asked["model alone"][1]))
        for synchronous in get_args(Synchronous):
            place, port = folder / synchronous, free_port()
            place.mkdir()
            key = add_accounts(place)["alice"]
            app = partial(small_app, place, synchronous=synchronous, **SERVICE)
            stack.enter_context(process_serving(app, port))
            asked[f"gate, {synchronous}"] = partial(ask_the_gate, key), port
        for talk, port in asked.values():
            wait_for(port)
            durations(talk, port, 10)  # warm-up
        yield asked


def requests_table(folder: Path, requests: int, connections: int) -> Table:
    """Measure times and rates of each server."""
    table = Table(title=f"Requests without work, {requests:,} each")
    for column in ("server", "p50, ms", "p99, ms", "more p50, ms", f"a second, {connections} connections"):
        table.add_column(column, justify="left" if column == "server" else "right")
    with servers(folder) as asked:
        seconds: dict[str, list[float]] = {name: [] for name in asked}
        rates: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(ROUNDS):
            for name, (talk, port) in asked.items():
                seconds[name] += durations(talk, port, -(-requests // ROUNDS))
                rates[name].append(rate(talk, port, -(-requests // ROUNDS), connections))
    bare = float(np.median(seconds["model alone"]))
    for name, each in seconds.items():
        half, most = np.percentile(each, [50, 99])
        more = f"{1000 * (half - bare):.2f}" if half != bare else ""
        table.add_row(
            name, f"{1000 * half:.2f}", f"{1000 * most:.2f}", more, f"{np.median(rates[name]):,.0f}"
        )
    return table


def microseconds(work: Callable[[], object], count: int) -> np.ndarray:
    """Return median and 99th percentile of the microseconds that `work` takes."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return 1e6 * np.percentile(seconds, [50, 99])


def steps(folder: Path, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each step of the gate, without HTTP, and its microseconds."""
    probabilities = predict(IMAGES)
    revealed = METER.reveal(IMAGES, probabilities)
    for synchronous in get_args(Synchronous):
        with closing(small_ledger(folder, synchronous)) as ledger:
            gate = Gate(small_service(**SERVICE), METER, ledger)

            def ask(gate: Gate = gate) -> Asked:
                id = gate.admit(Account("alice"))
                assert isinstance(id, bytes)
                return gate.ask("alice", id, IMAGES, probabilities, revealed)

            signed = ask().signed
            if synchronous == get_args(Synchronous)[0]:
                check = partial(gate.check, "alice", signed.token, NONCES)
                yield "check of a solution", microseconds(check, count)
                yield (
                    "issue of a challenge",
                    microseconds(partial(gate.keyring.sign, signed.challenge), count),
                )
            yield f"admission, booking, keeping and issue, {synchronous}", microseconds(ask, count)
            checked = iter([ask().signed.challenge for _ in range(count)])
            yield f"release, {synchronous}", microseconds(lambda: gate.release(next(checked)), count)  # noqa: B023


def steps_table(folder: Path, count: int) -> Table:
    """Measure the steps of the gate."""
    table = Table(title=f"Steps of the gate, {count:,} each")
    for column in ("step", "p50, µs", "p99, µs"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, (half, most) in steps(folder, count):
        table.add_row(name, f"{half:,.1f}", f"{most:,.1f}")
    return table


def ask_and_walk_away(port: int, key: str, count: int) -> Counter[str]:
    """Ask `count` times over one connection, solve nothing, and count the reasons of the answers."""
    reasons: Counter[str] = Counter()
    headers = {"Content-Type": NPY, "Authorization": f"Bearer {key}"}
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        for _ in range(count):
            connection.request("POST", "/v1/predict", encode(IMAGES), headers)
            reasons[json.loads(connection.getresponse().read())["reason"]] += 1
    return reasons


def pending_table(folder: Path, count: int, connections: int) -> Table:
    """Measure how a gate answers requests that are never solved, and how they slow an honest user down."""
    keys, port = add_accounts(folder), free_port()
    app = partial(small_app, folder, limits=DEFAULT_LIMITS, synchronous="full", **SERVICE)
    talk = partial(ask_the_gate, keys["bob"])
    with process_serving(app, port), ThreadPoolExecutor(connections) as threads:
        wait_for(port)
        before = durations(talk, port, HONEST_REQUESTS)
        asking = partial(ask_and_walk_away, port, keys["alice"], -(-count // connections))
        flood = [threads.submit(asking) for _ in range(connections)]
        meanwhile = durations(talk, port, 1)
        while len(meanwhile) < HONEST_REQUESTS and not all(each.done() for each in flood):
            meanwhile += durations(talk, port, 1)
        reasons = sum((each.result() for each in flood), Counter())
        after = durations(talk, port, HONEST_REQUESTS)
    title = f"{reasons.total():,} asks that are never solved, {connections} connections"
    table = Table(title=title, show_header=False)
    for reason, times in reasons.most_common():
        table.add_row(f"answered {reason}", f"{times:,}", "")
    for when, seconds in (("before", before), ("meanwhile", meanwhile), ("after", after)):
        half, most = 1000 * np.percentile(seconds, [50, 99])
        table.add_row(f"honest user {when}, p50 and p99", f"{half:.1f} ms", f"{most:.1f} ms")
    return table


async def stay(port: int, dribbles: bool) -> None:
    """Keep a connection open that says nothing, or next to nothing, and open it again when it is closed."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if dribbles:
                writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
            while not reader.at_eof():
                if dribbles:
                    writer.write(b"x")
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 1.0 if dribbles else None)
            writer.close()
        await asyncio.sleep(random.expovariate(1.0))


def strangers(port: int, count: int, dribbles: bool) -> None:
    """Be so many strangers, until killed."""
    os.nice(19)
    random.seed(0)

    async def crowd() -> None:
        await asyncio.gather(*(stay(port, dribbles) for _ in range(count)))

    asyncio.run(crowd())


def strangers_table(folder: Path, count: int) -> Table:
    """Measure how silent and dribbling strangers slow an honest user down."""
    keys, port = add_accounts(folder), free_port()
    talk = partial(ask_the_gate, keys["bob"])
    table = Table(title=f"{count:,} strangers, an honest user's exchanges", show_header=False)
    with process_serving(partial(small_app, folder, synchronous="full", **SERVICE), port):
        wait_for(port)
        durations(talk, port, HONEST_REQUESTS)
        for when, dribbles in (
            ("alone", None),
            ("silent", False),
            ("dribbling", True),
            ("alone again", None),
        ):
            with ExitStack() as stack:
                if dribbles is not None:
                    stack.enter_context(_crowd(port, count, dribbles))
                half, most = 1000 * np.percentile(durations(talk, port, 5 * HONEST_REQUESTS), [50, 99])
            table.add_row(f"{when}, p50 and p99", f"{half:.1f} ms", f"{most:.1f} ms")
    return table


@contextmanager
def _crowd(port: int, count: int, dribbles: bool) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=strangers, args=(port, count, dribbles))
    process.start()
    try:
        time.sleep(5)  # they are all there
        yield
    finally:
        process.kill()
        process.join()


def main() -> None:
    """Run the benchmark that the options name, and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kill", type=int, metavar="TIMES", help="kill a gate under load so many times")
    parser.add_argument("--pending", type=int, metavar="ASKS", help="ask so many times without solving")
    parser.add_argument("--strangers", type=int, metavar="MANY", help="so many who send nothing")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which it is killed")
    options = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.kill:
            seen = kill_again_and_again(folder, options.kill, options.seed)
            console.print(
                f"{seen.kills} kills: {seen.challenges:,} challenges, {seen.answers:,} answers, none of them "
                f"twice, {seen.cut:,} redemptions cut off; no cost lost"
            )
            return
        if options.strangers:
            console.print(strangers_table(folder, options.strangers))
            return
        if options.pending:
            console.print(pending_table(folder, options.pending, options.connections))
            return
        console.print(requests_table(folder, options.requests, options.connections))
        console.print(steps_table(folder, options.requests))


if __name__ == "__main__":
    main()
