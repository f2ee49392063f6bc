"""What a benchmark starts ends with it, even when it is killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bench.enclosure import Enclosure

CLONE = Path(__file__).resolve().parent.parent.parent

KILLED = """
import sys, time
from pathlib import Path
from bench.enclosure import Enclosure

with Enclosure() as enclosure:
    daemon = enclosure.start("sleep", "1000", log=Path(sys.argv[1]))
    daemon.until(lambda: enclosure.processes() != [])
    print(daemon.pid, flush=True)
    time.sleep(1000)
"""


@pytest.mark.real
def test_nothing_outlives_a_benchmark_that_is_killed(tmp_path: Path) -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CLONE)},
    )
    assert maker.stdout is not None
    with maker, maker.stdout as said:
        inside = os.pidfd_open(int(said.readline()))
        maker.send_signal(signal.SIGKILL)
        ended, _, _ = select.select([inside], [], [], 30)
        os.close(inside)
    assert ended


@pytest.mark.real
def test_an_enclosure_has_a_network_a_run_directory_and_processes_of_its_own(tmp_path: Path) -> None:
    with Enclosure() as enclosure:
        assert enclosure.run("ls", "/run") == ""
        enclosure.run("touch", "/run/here")
        assert enclosure.path("/run/here").exists()
        assert not Path("/run/here").exists()
        links = enclosure.run("ip", "-brief", "link").splitlines()
        assert [line.split("@")[0].split()[0] for line in links if " UP" in line or "UNKNOWN" in line] == [
            "lo"
        ]
        daemon = enclosure.start("sleep", "1000", log=tmp_path / "log")
        daemon.until(lambda: enclosure.processes() != [])
        assert enclosure.processes() == [daemon.pid]
        daemon.stop()
        assert enclosure.processes() == []
        with pytest.raises(RuntimeError, match="nowhere"):
            enclosure.run("ls", "/nowhere")


@pytest.mark.real
def test_a_daemon_that_ends_is_quoted(tmp_path: Path) -> None:
    with Enclosure() as enclosure:
        daemon = enclosure.start("sh", "-c", "echo out of luck; exit 3", log=tmp_path / "log")
        with pytest.raises(RuntimeError, match="out of luck"):
            daemon.until(lambda: False)
