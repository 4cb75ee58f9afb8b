"""`python -m commands ...` is `tollgate ...`, for a clone that is not installed."""

from __future__ import annotations

import sys

from commands.main import main

if __name__ == "__main__":
    sys.exit(main())
