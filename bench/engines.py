"""Engines that run jobs, as peers: HyperQueue, dask.distributed and Prefect, in a Python environment of their own.

They are fetched once and kept in the cache; what they start lives in an enclosure and ends with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bench.enclosure import Enclosure
from bench.home import CACHE, CLONE

_PACKAGES = (
    *("hyperqueue==0.27.0", "distributed==2026.8.0"),
    *("prefect==3.8.8", "fastapi==0.139.0"),  # with the newest of the latter it does not start
)
NAMES = {"hyperqueue": "HyperQueue", "dask": "dask.distributed", "prefect": "Prefect"}


class Speed(NamedTuple):
    rate: float
    """Commands a second."""
    step: float
    """Milliseconds of one step of a chain."""


def python() -> Path:
    """Of an environment that has all of them."""
    place = CACHE / "bench" / "engines"
    if (place / "packages").exists() and (place / "packages").read_text() == _wanted():
        return place / "bin" / "python"
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *_PACKAGES], check=True)
    (place / "packages").write_text(_wanted())
    return place / "bin" / "python"


def measure(peer: str, home: Path, tasks: int, chain: int) -> Speed:
    """One round. `home`: a directory that does not exist yet."""
    home.mkdir()
    script = CLONE / "bench" / "engine_scripts.py"
    with Enclosure() as enclosure:
        command = ("sh", "-c", 'cd "$1"; shift; exec "$@"', "-", str(home), str(python()), "-P", str(script))
        said = enclosure.run(*command, peer, str(tasks), str(chain), env={**os.environ, "HOME": str(home)})
    return Speed(**json.loads(said.splitlines()[-1]))


def _wanted() -> str:
    return "\n".join(_PACKAGES)
