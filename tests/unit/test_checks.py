"""What `./run check` checks, as tests: formatting, lint, types, the rooms' import rules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ["src", "tests", "bench", "tools"]

CHECKS = {
    "formatting": [sys.executable, "-m", "ruff", "format", "--check", "--quiet", *CODE],
    "lint": [sys.executable, "-m", "ruff", "check", "--output-format=concise", *CODE],
    "types": [sys.executable, "-m", "mypy", "--no-error-summary"],
    "imports": [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_code_passes(check: str) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        CHECKS[check], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
