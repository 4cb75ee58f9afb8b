"""`python run.py ...` is `tollgate run ...`: a cell, or with -m a grid."""

from __future__ import annotations

import sys

from commands.main import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
