"""Ask a gate about a picture: prints the answer, and what it was paid with.

Where the work is done and its answer does not come, the solution is kept in a file: --redeem FILE gets the
answer later, until it expires.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.parsing import HASHES, MAX_HASHES, parser

if TYPE_CHECKING:
    from gate.client import Client, Solved

KEY_VARIABLE = "TOLLGATE_KEY"


def main(arguments: Sequence[str]) -> int:
    """Ask about one picture, and print the answer with its price."""
    options = _parsed(arguments)
    from gate.client import Client, Refused, TooExpensive, Willing

    try:
        willing = Willing(max_hashes=options.max_hashes)
        with Client(options.url, options.key, willing, ca=options.ca, proxy=options.proxy) as client:
            lines = _redeemed(client, options.redeem) if options.redeem else _asked(client, options.image)
    except (Refused, TooExpensive) as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        if isinstance(error, Refused) and error.solved is not None and not options.redeem:
            _keep(error.solved, options.url)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parsing = parser("ask", __doc__)
    parsing.add_argument("url", metavar="URL", help="of the gate, such as http://127.0.0.1:8000")
    parsing.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help="a picture file")
    parsing.add_argument("--key", default=os.environ.get(KEY_VARIABLE), help=f"default: ${KEY_VARIABLE}")
    parsing.add_argument(
        "--max-hashes", type=HASHES, default=MAX_HASHES, metavar="N", help="most that the answer may cost"
    )
    parsing.add_argument("--redeem", type=Path, metavar="FILE", help="a solution that was kept")
    parsing.add_argument("--ca", type=Path, metavar="FILE", help="certificate authorities to trust")
    parsing.add_argument("--proxy", metavar="URL", help="default: the environment's")
    options = parsing.parse_args(arguments)
    if (options.image is None) == (options.redeem is None):
        parsing.error("either IMAGE or --redeem FILE is needed")
    if not options.key:
        parsing.error(f"an API key is needed: --key, or the environment variable {KEY_VARIABLE}")
    return options


def _asked(client: Client, image: Path) -> list[str]:
    from gate.client import read_image, sentences

    receipt = client.request(read_image(image, client.model().image_shape))
    paid = f"paid with {receipt.tried_hashes:,} hashes in {receipt.solve_seconds:.2f} s"
    return [*sentences(receipt.answer), paid]


def _redeemed(client: Client, file: Path) -> list[str]:
    from gate.client import Solved, sentences

    return sentences(client.redeem(Solved.of(file.read_text())))


def _keep(solved: Solved, url: str) -> None:
    """Keep a solution in a file of the folder, for its owner only, and say how to go on."""
    path = Path(f"tollgate-solution-{solved.token[-12:]}.json")
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(solved.text() + "\n")
    print(f"the work is done and kept: tollgate ask {url} --redeem {path}", file=sys.stderr)
