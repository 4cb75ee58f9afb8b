"""The page, in a browser: it asks, pays and shows what the Python client gets."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Route, expect, sync_playwright

from gate.client import Client, read_image
from gate.http.pages import PAGE
from pow.calibration.constant import ConstantCalibration
from pow.puzzles import Puzzle, PuzzleSettings, Sha256Puzzle, verify
from pow.puzzles.hashcash import HashcashPuzzle
from support.gates.server import CLASSES, FREE, IMAGE_SHAPE, LARGEST_BATCH, add_accounts, running, small_app
from support.missing import program

PATIENCE = 15_000
"""Milliseconds that anything on the page may take: far more than it does."""

NOT_SECURE = "gate.test"
"""A name of this machine by which browsers do not take it for one, so that they trust it less."""

PARTS = 4
COLOUR_SHAPE = (3, 5, 7)


@dataclass(frozen=True)
class RunningGate:
    """Where a gate is, and the key of an account there."""

    url: str
    key: str


@contextmanager
def running_gate(folder: Path, hashes: float, **changes: Any) -> Iterator[RunningGate]:
    price = ConstantCalibration(FREE, each=1.0, request_size=LARGEST_BATCH, reference_rate=hashes)
    options: dict[str, Any] = {"calibration": price, "puzzle": PuzzleSettings(Sha256Puzzle, PARTS)}
    key = add_accounts(folder)["alice"]
    with running(small_app(folder, **options | changes)) as url:
        yield RunningGate(url, key)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    with running_gate(tmp_path_factory.mktemp("gate"), hashes=4096) as gate:
        yield gate


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    chromium_path = program("chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=chromium_path,
            args=["--no-sandbox", "--no-proxy-server", f"--host-resolver-rules=MAP {NOT_SECURE} 127.0.0.1"],
        )
        context = chromium.new_context()
        context.set_default_timeout(PATIENCE)
        yield context
        chromium.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """A page that must be without errors and speak to its own origin only."""
    errors: list[str] = []
    origins: set[str] = set()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not is_refusal(message):
            errors.append(message.text)

    with browser.new_page() as page:
        page.on("request", lambda request: origins.add(origin(request.url)))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", note)
        yield page
        assert errors == []
        assert origins == {origin(page.url)}


def is_refusal(message: ConsoleMessage) -> bool:
    """Whether the browser reports a status from 400 on: that of a challenge is one of them."""
    path = urlsplit(message.location["url"]).path
    return message.text.startswith("Failed to load resource") and path.startswith("/v1/")


def origin(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Noise in colour, larger than what any model here takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (37, 23, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def visit(page: Page, gate: RunningGate) -> None:
    page.goto(f"{gate.url}/#key={gate.key}")
    expect(page.locator("#file")).to_be_enabled()  # a fieldset itself never counts as disabled


def choose(page: Page, picture: Path) -> None:
    page.set_input_files("#file", picture)
    expect(page.get_by_role("img", name=f"Your picture: {picture.name}")).to_be_visible()


def ask(page: Page) -> Request:
    with page.expect_request("**/v1/predict") as request:
        page.get_by_role("button", name="Ask").click()
    return request.value


def asked_images(request: Request) -> np.ndarray:
    return np.array(content(request)["images"], dtype=np.float32)


def asked_puzzle(request: Request) -> Puzzle:
    response = request.response()
    assert response is not None and response.status == 402
    said = response.json()["puzzle"]
    return Sha256Puzzle(bytes.fromhex(said["challenge"]), said["difficulty"], said["parts"])


def content(request: Request) -> dict[str, Any]:
    return json.loads(request.post_data or "")


def shown_probabilities(page: Page) -> dict[int, str]:
    expect(page.locator("#answer")).to_be_visible()
    rows = [re.fullmatch(r"Class (\d+)\s+([\d.]+ %)", row) for row in page.locator("li").all_inner_texts()]
    return {int(row[1]): row[2] for row in rows if row}


def test_the_page_shows_what_the_python_client_gets(gate: RunningGate, page: Page, picture: Path) -> None:
    visit(page, gate)
    choose(page, picture)
    with page.expect_request("**/v1/redeem") as redeemed:
        request = ask(page)
    shown = shown_probabilities(page)
    with Client(gate.url, gate.key) as client:
        answer = client.request(read_image(picture, IMAGE_SHAPE)).answer[0]
    by_size = np.argsort(-answer, kind="stable")
    assert shown == {int(label): f"{100 * float(answer[label]):.2f} %" for label in by_size}
    assert list(shown) == by_size.tolist()
    expect(page.locator("#label")).to_have_text(f"Class {by_size[0]}")
    np.testing.assert_array_equal(asked_images(request), read_image(picture, IMAGE_SHAPE) / np.float32(255))
    for name, text in {"kind": "sha256", "expected": "4,096", "parts": "4"}.items():
        expect(page.locator(f"#{name}")).to_have_text(text)
    nonces, puzzle = content(redeemed.value)["nonces"], asked_puzzle(request)
    assert verify(puzzle, nonces)
    paid = re.search(r"Paid with some ([\d,]+) hashes", page.locator("#paid").inner_text())
    assert paid and PARTS <= int(paid[1].replace(",", "")) < 10 * puzzle.expected_hashes


def test_a_key_in_the_address_leaves_it(gate: RunningGate, page: Page) -> None:
    page.goto(f"{gate.url}/#key={gate.key}")
    expect(page.get_by_label("API key")).to_have_value(gate.key)
    assert page.url == f"{gate.url}/"


def test_a_wrong_key_is_refused_in_words(gate: RunningGate, page: Page, picture: Path) -> None:
    visit(page, gate)
    page.get_by_label("API key").fill("tg_wrong")
    choose(page, picture)
    ask(page)
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text("The API key is not known.")
    expect(page.locator("#answer")).to_be_hidden()


def test_what_is_no_picture_is_refused_in_words(gate: RunningGate, page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    visit(page, gate)
    page.set_input_files("#file", tmp_path / "notes.png")
    alert = page.get_by_role("alert").filter(visible=True)
    expect(alert).to_have_text(
        "notes.png cannot be read: this page takes PNG, JPEG, GIF and WebP, and no animated PNG."
    )
    page.get_by_label("API key").press("Enter")
    expect(alert).to_contain_text("There is no picture yet")


def test_a_drawing_is_asked_about(gate: RunningGate, page: Page) -> None:
    visit(page, gate)
    box = page.locator("#pad").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + box["height"] - 5, steps=3)
    page.mouse.up()
    columns = asked_images(ask(page))[0, 0].mean(0)
    assert columns[3:5].min() > 0.4 and columns[[0, 1, 6, 7]].max() == 0
    assert len(shown_probabilities(page)) == CLASSES


def test_a_cancelled_puzzle_is_gone_on_with(gate: RunningGate, page: Page, picture: Path) -> None:
    finds_nothing = """
        let count = 0;
        onmessage = ({data}) => count++ || postMessage({part: data.part, nonce: null, tried: data.count});
    """
    page.route(
        "**/solver.js", lambda route: route.fulfill(body=finds_nothing, content_type="text/javascript")
    )
    visit(page, gate)
    choose(page, picture)
    ask(page)
    expect(page.locator("#tried")).to_have_text(re.compile(r"^[1-9][\d,]+ of some 4,096$"))
    page.get_by_role("button", name="Cancel").click()
    page.unroute("**/solver.js")
    expect(page.get_by_role("status")).to_contain_text("Cancelled")
    with page.expect_request("**/v1/redeem") as redeemed:
        page.get_by_role("button", name="Go on").click()
    assert content(redeemed.value)["nonces"][0] >= 1024
    assert len(shown_probabilities(page)) == CLASSES


def test_a_reply_that_is_lost_is_asked_for_again(gate: RunningGate, page: Page, picture: Path) -> None:
    lost: list[str] = []

    def lose_the_first(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path in lost:
            route.continue_()
            return
        lost.append(path)
        route.fetch()  # the gate has done its part
        route.abort("connectionreset")

    visit(page, gate)
    page.route("**/v1/predict", lose_the_first)
    page.route("**/v1/redeem", lose_the_first)
    asked: list[str | None] = []
    page.on("request", lambda request: asked.append(request.header_value("idempotency-key")))
    choose(page, picture)
    ask(page)
    assert len(shown_probabilities(page)) == CLASSES
    keys = [key for key in asked if key]
    assert lost == ["/v1/predict", "/v1/redeem"] and len(keys) == 2 and len({*keys}) == 1


def test_a_puzzle_that_expires_is_said(page: Page, picture: Path, tmp_path: Path) -> None:
    with running_gate(tmp_path, hashes=2**30, lifetime=1.0, slowest_rate=1e12) as gate:
        visit(page, gate)
        choose(page, picture)
        ask(page)
        expect(page.locator("#expires")).to_contain_text("in ")
        alert = page.get_by_role("alert").filter(visible=True)
        expect(alert).to_have_text("The puzzle has expired before it was solved. Ask again for a new one.")
        expect(page.get_by_role("button", name="Go on")).to_be_hidden()


def test_much_work_is_not_begun_without_being_told(page: Page, picture: Path, tmp_path: Path) -> None:
    with running_gate(tmp_path, hashes=2**32) as gate:
        visit(page, gate)
        choose(page, picture)
        ask(page)
        alert = page.get_by_role("alert").filter(visible=True)
        expect(alert).to_have_text("That is much work for a browser. Begin it only if you want to.")
        expect(page.locator("#expected")).to_have_text("4,294,967,296")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("button", name="Cancel")).to_be_visible()


def give_changed(page: Page, file: str, right: str, wrong: str) -> None:
    """Let the browser get one of the page's files with one place changed."""
    source = (PAGE / file).read_text()
    assert source.count(right) == 1
    changed = source.replace(right, wrong)
    page.route(f"**/{file}", lambda route: route.fulfill(body=changed, content_type="text/javascript"))


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("sha256.js", "(x >>> 3)", "(x >>> 4)"),
        ("search.js", "word < largest[i]", "true"),
        ("search.js", "block[NONCE] = nonce", "block[NONCE] = nonce + 1"),
        ("solver.js", "= search(", f"= (part < {PARTS - 1} ? 0 : -1) + search("),
    ],
    ids=["SHA-256", "comparison", "block", "last part"],
)
def test_a_wrong_solution_is_said_and_not_sent(
    gate: RunningGate, page: Page, picture: Path, file: str, right: str, wrong: str
) -> None:
    give_changed(page, file, right, wrong)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(urlsplit(request.url).path))
    visit(page, gate)
    choose(page, picture)
    ask(page)
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(
        "The solver failed: your browser's own SHA-256 does not confirm its solution, so it was not sent."
    )
    expect(page.get_by_role("button", name="Go on")).to_be_hidden()
    assert "/v1/predict" in sent and "/v1/redeem" not in sent


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("vectors.js", "rotated(get(e), 11)", "rotated(get(e), 12)"),
        ("vectors.js", "add(get(sum), s0)", "get(sum)"),
        ("vectors.js", "new WebAssembly.Module(", "new WebAssembly.Lacks("),
    ],
    ids=["wrong round", "wrong sum", "none"],
)
def test_without_right_vectors_the_loop_solves(
    gate: RunningGate, page: Page, picture: Path, file: str, right: str, wrong: str
) -> None:
    give_changed(page, file, right, wrong)
    visit(page, gate)
    choose(page, picture)
    ask(page)
    assert len(shown_probabilities(page)) == CLASSES


FIND = """
async ([block, largest, start, count]) => {
    const { search } = await import("/page/search.js");
    return search(Int32Array.from(block), Uint32Array.from(largest), start, count);
}
"""


def found_in_browser(page: Page, puzzle: Sha256Puzzle, start: int, count: int) -> int | None:
    seed = struct.unpack(">8I", puzzle.seed(0))
    block = [*seed, 0, 0, 0x80000000, 0, 0, 0, 0, 320]
    found: int | None = page.evaluate(FIND, [block, struct.unpack(">8I", puzzle.largest), start, count])
    return found


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "loop"])
def test_the_browser_finds_what_hashlib_finds(gate: RunningGate, page: Page, vectors: bool) -> None:
    if not vectors:
        give_changed(page, "vectors.js", "new WebAssembly.Module(", "new WebAssembly.Lacks(")
    page.goto(gate.url)
    assert page.evaluate("async () => (await import('/page/vectors.js')).compiled() !== null") is vectors
    for number in range(20):
        puzzle = Sha256Puzzle(challenge=bytes([number]) * 32, difficulty=300.0, parts=1)
        for start, count in [(0, 1000), (2**32 - 3 - number, 200), (2**40, 1 + number), (5, 0)]:
            found = found_in_browser(page, puzzle, start, count)
            assert found == puzzle.search_in_a_loop(0, start, count)


def test_a_page_that_is_not_secure_pays_unchecked(gate: RunningGate, page: Page, picture: Path) -> None:
    visit(page, RunningGate(gate.url.replace("127.0.0.1", NOT_SECURE), gate.key))
    assert page.evaluate("[isSecureContext, crypto.subtle === undefined]") == [False, True]
    choose(page, picture)
    ask(page)
    assert len(shown_probabilities(page)) == CLASSES


def test_a_colour_picture_is_asked_about(page: Page, picture: Path, tmp_path: Path) -> None:
    def brightest_channel(images: np.ndarray) -> np.ndarray:
        return np.eye(CLASSES, dtype=np.float32)[images.sum((2, 3)).argmax(1)]

    options = {"predict": brightest_channel, "image_shape": COLOUR_SHAPE, "answers": "hard"}
    with running_gate(tmp_path, hashes=4096, **options) as gate:
        visit(page, gate)
        choose(page, picture)
        images = asked_images(ask(page))
        np.testing.assert_array_equal(images, read_image(picture, COLOUR_SHAPE) / np.float32(255))
        expect(page.locator("#label")).to_have_text(f"Class {images.sum((2, 3)).argmax()}")


def test_another_kind_of_puzzle_is_explained(page: Page, tmp_path: Path) -> None:
    with running_gate(tmp_path, hashes=4096, puzzle=PuzzleSettings(HashcashPuzzle)) as gate:
        page.goto(f"{gate.url}/#key={gate.key}")
        alert = page.get_by_role("alert").filter(visible=True)
        expect(alert).to_contain_text("This gate asks for hashcash puzzles")
        expect(alert).to_contain_text(f"tollgate ask {gate.url}")
        expect(page.get_by_role("button", name="Ask")).to_be_disabled()


@pytest.mark.parametrize("path", ["/", "/page/gate.js", "/page/search.js", "/page/style.css"])
def test_the_page_allows_its_own_origin_only(gate: RunningGate, path: str) -> None:
    headers = httpx.get(f"{gate.url}{path}").raise_for_status().headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "script-src 'self' 'wasm-unsafe-eval';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
