"""Ask a gate about a picture: prints the answer, and what it was paid with."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.parsing import HASHES, MAX_HASHES, parser

KEY_VARIABLE = "TOLLGATE_KEY"


def main(arguments: Sequence[str]) -> int:
    """Ask about one picture, and print the answer with its price."""
    parsing = parser("ask", __doc__)
    parsing.add_argument("url", metavar="URL", help="of the gate, such as http://127.0.0.1:8000")
    parsing.add_argument("image", type=Path, metavar="IMAGE", help="a picture file")
    parsing.add_argument("--key", default=os.environ.get(KEY_VARIABLE), help=f"default: ${KEY_VARIABLE}")
    parsing.add_argument(
        "--max-hashes", type=HASHES, default=MAX_HASHES, metavar="N", help="most that the answer may cost"
    )
    options = parsing.parse_args(arguments)
    if not options.key:
        parsing.error(f"an API key is needed: --key, or the environment variable {KEY_VARIABLE}")
    from gate.client import Client, Refused, TooExpensive, Willing, read_image, sentences

    try:
        with Client(options.url, options.key, Willing(max_hashes=options.max_hashes)) as client:
            receipt = client.request(read_image(options.image, client.model().image_shape))
    except (Refused, TooExpensive) as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(sentences(receipt)))
    return 0
