"""The systemd unit, and the word to systemd that the daemon is ready."""

from __future__ import annotations

import os
import socket
import sys


def unit(arguments: list[str]) -> str:
    """A unit that runs this very program. `KillMode=process`: containers outlive the daemon."""
    command = " ".join([sys.executable, "-m", "hivemind", "daemon", *arguments])
    return f"""[Unit]
Description=Hivemind node
After=network-online.target
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


def notify(message: str) -> None:
    """`READY=1` or `STOPPING=1`, where systemd asked for it (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(message.encode(), address)
