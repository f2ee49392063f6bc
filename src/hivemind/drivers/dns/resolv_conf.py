"""The host's resolv.conf: whom the machine asks for names that are not ours."""

from __future__ import annotations

import ipaddress
from pathlib import Path

Address = tuple[str, int]


class ResolvConf:
    """Read at once and again whenever the file changes; looking for a change costs one `stat`."""

    def __init__(self, path: Path = Path("/etc/resolv.conf"), port: int = 53) -> None:
        self._path = path
        self._port = port
        self._seen: tuple[int, int, int] | None = None
        self._upstreams: tuple[Address, ...] = ()

    def upstreams(self) -> tuple[Address, ...]:
        """In the order of the file; none when there is no such file."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                text = self._path.read_text(encoding="utf-8", errors="replace")
                self._upstreams = tuple((host, self._port) for host in nameservers(text))
                self._seen = seen
        except OSError:
            # No file, or not readable: this machine has no upstream now. It is looked for again next time.
            self._seen, self._upstreams = None, ()
        return self._upstreams


def nameservers(text: str) -> list[str]:
    """The addresses in the `nameserver` lines of a resolv.conf. What is no address is passed over, as libc does:
    to look it up as a name would take the name server that it is meant to be."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] not in found and _is_address(words[1]):
            found.append(words[1])
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
