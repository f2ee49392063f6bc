"""Where the local daemon listens when nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def default_endpoint() -> str:
    """`unix://` and `default_socket()`."""
    return f"unix://{default_socket()}"


def default_socket() -> Path:
    """/run/hivemind/hivemind.sock for root; for others $XDG_RUNTIME_DIR/hivemind/hivemind.sock, or `run/` in the
    data dir where there is no such directory."""
    if os.geteuid() == 0:
        return Path("/run/hivemind/hivemind.sock")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(runtime) / "hivemind" if runtime else default_data_dir() / "run") / "hivemind.sock"


def default_data_dir() -> Path:
    """/var/lib/hivemind for root, $XDG_DATA_HOME/hivemind for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/hivemind")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "hivemind"
