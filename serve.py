"""`python serve.py ...` is `tollgate serve ...`: a victim behind the gate."""

from __future__ import annotations

import sys

from commands.main import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
