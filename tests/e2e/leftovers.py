"""What a node of these tests leaves on the machine, found and taken away, whoever or whatever ended the tests.

    python -m tests.e2e.leftovers DIRECTORY     waits for the end of standard input, then clears that session

A session is a directory with a lock that lives as long as its tests; each home in it is one node with a network
namespace named after it. So a later session recognises what a killed one left.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from tests import docker_engine

ROOT = Path(__file__).resolve().parents[2]
SESSIONS = "hm-e2e-"
"""Short, because the paths of unix sockets must be."""
COMMAND = (sys.executable, "-m", "hivemind")
NAMESPACES = Path("/run/netns")


def environment() -> dict[str, str]:
    """Ours without any setting of Hivemind's, but with the images that were built already."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "HIVEMIND_CACHE" or not name.startswith("HIVEMIND_")
    }
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "LC_ALL": "C.UTF-8"}


def netns_of(home: Path) -> str:
    return f"{home.parent.name}-{home.name}"


def inside(home: Path) -> list[str]:
    """What puts a command into the home's network namespace. `ip netns exec` would also remount /sys."""
    path = NAMESPACES / netns_of(home)
    return ["nsenter", f"--net={path}"] if path.exists() else []


def rely_on(home: Path, engine: Path | None) -> None:
    """Notes that the home's containers run on an engine of the tests, with which all of them end."""
    note = home / "engine"
    note.unlink(missing_ok=True)
    if engine is not None and home.exists():
        note.symlink_to(engine)


def clear(home: Path) -> None:
    """Kills the home's daemon, lets Hivemind destroy the node, and removes namespace and directory."""
    _kill_daemon(home)
    note = home / "engine"
    if note.is_symlink():
        docker_engine.clear(note.readlink())
    words = ["daemon", "--destroy", "--data-dir", str(home / "d"), "--run-dir", str(home / "r")]
    done = subprocess.run(
        [*inside(home), *COMMAND, *words], env=environment(), cwd="/", capture_output=True, text=True
    )
    if (NAMESPACES / netns_of(home)).exists():
        subprocess.run(["ip", "netns", "del", netns_of(home)], check=True)
    if (home / "d").is_mount():  # a file system of its own, which stays
        assert done.returncode or not any((home / "d").iterdir())
        subprocess.run(["umount", str(home / "d")], check=True)
    if done.returncode and not note.is_symlink():
        raise AssertionError(f"{home} could not be destroyed: {done.stderr}")
    shutil.rmtree(home)


def mentions(words: bytes, home: Path) -> bool:
    """Whether a command line names something of this home, and not of one whose name only begins alike: 4 and 41."""
    return re.search(re.escape(os.fsencode(home)) + rb"(?![\w.-])", words) is not None


def _kill_daemon(home: Path) -> None:
    """The process that was started with the home's data directory."""
    mine = {os.fsencode(home / "d"), b"daemon"}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fd = os.pidfd_open(int(entry.name))
        except ProcessLookupError:
            continue
        try:
            if mine <= set((entry / "cmdline").read_bytes().split(b"\0")):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                select.select([fd], [], [], 30)
        except (FileNotFoundError, ProcessLookupError):
            pass  # It has just ended by itself.
        finally:
            os.close(fd)


def clear_session(session: Path) -> None:
    for home in sorted(session.iterdir()):
        if home.is_dir():
            clear(home)
    shutil.rmtree(session)


def begin_session() -> tuple[Path, IO[str]]:
    """A new directory and its lock. It gets its name once it is held, so that no sweep takes it for abandoned."""
    session = Path(tempfile.mkdtemp(prefix=SESSIONS))
    lock = (session / "lock.new").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (session / "lock.new").rename(session / "lock")
    return session, lock


def sweep() -> None:
    """Clears the sessions that nobody holds any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{SESSIONS}*/lock"):
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            clear_session(path.parent)


def main(session: Path) -> None:
    sys.stdin.buffer.read()
    if session.exists():
        clear_session(session)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
