"""The runtimes' mount namespace can be pinned wherever its daemon runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hivemind

OPEN = """
import os, sys
from pathlib import Path
from hivemind.drivers.runtimes.oci.mountns import MountNamespace

pin, witness = map(Path, sys.argv[1:])
for opening in ("made", "entered again"):
    namespace = MountNamespace(pin, witness)
    namespace.open()
    inside = os.fstat(namespace._fd).st_ino
    namespace.close()
    assert inside == pin.stat().st_ino, opening
namespace.destroy()
assert not pin.exists()
"""


@pytest.mark.real
@pytest.mark.parametrize("made_on", range(os.cpu_count() or 1))
@pytest.mark.parametrize("runs_on", range(os.cpu_count() or 1))
def test_a_namespace_is_pinned_inside_another_one(tmp_path: Path, made_on: int, runs_on: int) -> None:
    """Kernels since 6.18 number namespaces by processor, and refuse to pin one with a lower number than their own."""
    nested = ["taskset", "-c", str(made_on), "unshare", "--mount", "taskset", "-c", str(runs_on)]
    command = [*nested, sys.executable, "-c", OPEN, str(tmp_path / "ns" / "mnt"), str(tmp_path)]
    source = str(Path(hivemind.__file__).parent.parent)
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": source})
