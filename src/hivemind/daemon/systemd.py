"""The systemd unit, and the word to systemd that the daemon is ready."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
from pathlib import Path

log = logging.getLogger(__name__)
_BOOTED = Path("/run/systemd/system")
"""There when systemd runs the machine (sd_booted(3))."""
_PATIENCE = 1.0
"""Seconds for the answer of systemd."""


def unit(arguments: list[str]) -> str:
    """A unit that runs this very program. `KillMode=process`: containers outlive the daemon."""
    words = [sys.executable, "-m", "hivemind", "daemon", *arguments]
    command = " ".join(_quoted(word) for word in words)
    return f"""[Unit]
Description=Hivemind node
After=network-online.target docker.service containerd.service
Wants=network-online.target

[Service]
Type=notify
ExecStart={command}
Restart=always
RestartSec=1
KillMode=process
Delegate=yes
LimitNOFILE=65536
TasksMax=infinity
StateDirectory=hivemind
RuntimeDirectory=hivemind
RuntimeDirectoryPreserve=yes

[Install]
WantedBy=multi-user.target
"""


def _quoted(word: str) -> str:
    """As systemd.service(5) reads it back: nothing is expanded, split or lost."""
    protected = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w./:=,@+-]+", protected):
        return protected
    escaped = protected.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def notify(message: str) -> None:
    """`READY=1` or `STOPPING=1`, where systemd asked for it (sd_notify(3)). The node goes on if it cannot hear."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(message.encode(), address)
    except OSError as error:
        log.warning("systemd could not be told %s: %s", message, error)


async def machine_stops() -> bool:
    """Whether the whole machine goes down, and all that runs on it. Where no systemd runs it, nobody knows: False."""
    if not _BOOTED.is_dir():
        return False
    try:
        process = await asyncio.create_subprocess_exec(
            "systemctl", "is-system-running",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return False
    try:
        async with asyncio.timeout(_PATIENCE):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return said.strip() == b"stopping"
