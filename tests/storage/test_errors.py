from __future__ import annotations

import subprocess
import sys


def test_light_code_can_name_wrong_input() -> None:
    code = "import sys, storage.errors; print(*{'torch', 'pandas', 'numpy'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""
