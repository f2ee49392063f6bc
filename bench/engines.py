"""Engines that run jobs, as peers: HyperQueue, dask.distributed and Prefect, each in a Python environment of its own.

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

_PACKAGES = {
    "hyperqueue": ("hyperqueue==0.27.0",),
    "dask": ("distributed==2026.8.0",),
    "prefect": ("prefect==3.8.8", "fastapi==0.139.0"),  # with the newest of the latter it does not start
}
NAMES = {"hyperqueue": "HyperQueue", "dask": "dask.distributed", "prefect": "Prefect"}

_FETCHING, _ROUND = 90.0, 60.0
"""Seconds that installing one, and a round of one, may take."""


class Speed(NamedTuple):
    rate: float
    """Commands a second."""
    step: float
    """Milliseconds of one step of a chain."""


class Missing(Exception):
    """The engine cannot be measured here; the text is why."""


def python(peer: str) -> Path:
    """Of an environment that has it. Raises `Missing`."""
    place, wanted = CACHE / "bench" / "engines" / peer, "\n".join(_PACKAGES[peer])
    if (place / "packages").exists() and (place / "packages").read_text() == wanted:
        return place / "bin" / "python"
    shutil.rmtree(place, ignore_errors=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    try:
        _run([sys.executable, "-m", "venv", str(place)], _FETCHING)
        _run([*pip, *_PACKAGES[peer]], _FETCHING)
    except Missing as error:
        raise Missing(f"cannot be installed: {error}") from None
    (place / "packages").write_text(wanted)
    return place / "bin" / "python"


def measure(peer: str, home: Path, tasks: int, chain: int) -> Speed:
    """One round. `home`: a directory that does not exist yet. Raises `Missing`."""
    program, script = python(peer), CLONE / "bench" / "engine_scripts.py"
    home.mkdir()
    with Enclosure() as enclosure:
        command = ("sh", "-c", 'cd "$1"; shift; exec "$@"', "-", str(home), str(program), "-P", str(script))
        try:
            said = enclosure.run(
                *command, peer, str(tasks), str(chain), env={**os.environ, "HOME": str(home)}, seconds=_ROUND
            )
        except subprocess.TimeoutExpired:
            raise Missing(f"a round took more than {_ROUND:g} s") from None
        except RuntimeError as error:
            raise Missing(f"it failed: {str(error)[-200:]}") from None
    return Speed(**json.loads(said.splitlines()[-1]))


def _run(command: list[str], seconds: float) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Missing(f"it took more than {seconds:g} s") from None
    except subprocess.CalledProcessError as error:
        raise Missing((error.stderr or error.stdout).strip()[-200:]) from None
