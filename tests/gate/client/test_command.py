"""`tollgate ask` asks about a picture, and says what went wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import ask
from gate.client import read_image
from support.commands import run_python
from support.gates.over_http import Server
from support.gates.server import (
    IMAGE_SHAPE,
)


def test_a_picture_is_answered_on_the_command_line(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(path)
    with server.client() as client:
        probabilities = client.predict(read_image(path, IMAGE_SHAPE))[0]
    command = ("-m", "commands", "ask", server.url, str(path))
    said = run_python(*command, TOLLGATE_KEY=server.keys["alice"])
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    best = np.argsort(-probabilities)[:5]
    assert lines[:5] == [f"class {label}  {100 * probabilities[label]:6.2f} %" for label in best]
    assert lines[5].startswith("paid with ") and len(lines) == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "an API key is needed"),
        (["--key", "tg_unknown"], "Refused: unknown key"),
        (["--key", "alice's", "--max-hashes", "10"], "TooExpensive: the gate asks for 4.1e"),
    ],
)
def test_the_command_line_says_what_went_wrong(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (20, 30)).save(path)
    monkeypatch.delenv("TOLLGATE_KEY", raising=False)
    given = [server.keys["alice"] if argument == "alice's" else argument for argument in arguments]
    try:
        code = ask.main([server.url, str(path), *given])
    except SystemExit as ended:  # as argparse ends
        code = int(ended.code or 0)
    assert code != 0
    assert said in capsys.readouterr().err
