"""Ask a gate about a picture: prints the answer, and what it was paid with.

Work is kept until it is answered: where a command was killed or the gate went away, the same command goes on
and pays once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.parsing import HASHES, MAX_HASHES, parser

KEY_VARIABLE = "TOLLGATE_KEY"


def main(arguments: Sequence[str]) -> int:
    """Ask about one picture, and print the answer with its price."""
    options = _parsed(arguments)
    from gate.client import Client, Refused, TooExpensive, Willing, read_image, sentences
    from gate.sending import RETRIED

    way = {"ca": options.ca, "proxy": options.proxy, "keep": options.keep or _cache()}
    try:
        with Client(options.url, options.key, Willing(max_hashes=options.max_hashes), **way) as client:
            model = client.model()
            receipt = client.request(read_image(options.image, model.image_shape))
    except (Refused, TooExpensive) as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        solved = error.solved if isinstance(error, Refused) and error.status in (0, *RETRIED) else None
        if solved is not None and way["keep"] is not None:
            print("the work is done and kept: the same command goes on with it", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(sentences(receipt, model)))
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parsing = parser("ask", __doc__)
    parsing.add_argument("url", metavar="URL", help="of the gate, such as http://127.0.0.1:8000")
    parsing.add_argument("image", type=Path, metavar="IMAGE", help="a picture file")
    parsing.add_argument("--key", default=os.environ.get(KEY_VARIABLE), help=f"default: ${KEY_VARIABLE}")
    parsing.add_argument(
        "--max-hashes", type=HASHES, default=MAX_HASHES, metavar="N", help="most that the answer may cost"
    )
    parsing.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="of unanswered work; default: in the user's cache"
    )
    parsing.add_argument("--ca", type=Path, metavar="FILE", help="certificate authorities to trust")
    parsing.add_argument("--proxy", metavar="URL", help="default: the environment's")
    options = parsing.parse_args(arguments)
    if not options.key:
        parsing.error(f"an API key is needed: --key, or the environment variable {KEY_VARIABLE}")
    return options


def _cache() -> Path | None:
    """The folder of unanswered work, where the user's programs keep such things; None where they cannot."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tollgate"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder
