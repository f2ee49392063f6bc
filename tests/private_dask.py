"""A Dask of the tests' own: a scheduler and a worker, on private ports of the loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.private_slurm import _prepare_child


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The address of its scheduler."""
    place = Path(tempfile.mkdtemp(prefix="hm-dask-"))
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "DASK_TEMPORARY_DIRECTORY": str(place)}
    command = [sys.executable, "-c", _PROGRAM]
    process = subprocess.Popen(
        command, env=environment, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, preexec_fn=_prepare_child,
    )  # fmt: skip
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError("Dask does not come up")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout and process.stdin
        process.stdout.close()
        process.stdin.close()
        shutil.rmtree(place, ignore_errors=True)


_PROGRAM = """
import sys
from distributed import LocalCluster
cluster = LocalCluster(n_workers=1, threads_per_worker=4, processes=False, dashboard_address=None, host="127.0.0.1",
                       protocol="tcp://", scheduler_port=0)
print(cluster.scheduler_address, flush=True)
sys.stdin.read()
"""
