"""What a check of `hivemind doctor` looks at, and what it finds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

OK, WARN, FAIL = "ok", "warn", "fail"


class Finding(NamedTuple):
    level: str
    found: str
    """What is there."""
    mend: str = ""
    """The exact command that makes it right, or what to do."""


class Machine(NamedTuple):
    """This machine, or a folder that looks like one (for tests)."""

    root: Path = Path("/")
    user: int = 0
    endpoint: str = ""
    data_dir: str = "/var/lib/hivemind"
    token: str = ""
    ca: str = ""

    def read(self, path: str) -> str:
        """Its contents, or nothing where it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace")
        except OSError:
            return ""

    def program(self, *names: str) -> str:
        """The first of `names` that is installed."""
        return next((name for name in names if shutil.which(name, path=self._path)), "")

    def output(self, *command: str) -> str:
        """What the program prints, or nothing where it is missing, fails or does not end."""
        name = self.program(command[0])
        path = shutil.which(name, path=self._path) if name else None
        if path is None:
            return ""
        try:
            done = subprocess.run([path, *command[1:]], capture_output=True, text=True, timeout=5.0)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout if done.returncode == 0 else ""

    @property
    def _path(self) -> str:
        folders = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
        return os.pathsep.join([*(str(self.root / f) for f in folders), *_own_path(self)])

    def install(self, debian: str, fedora: str = "") -> str:
        """The command that installs packages here."""
        release = self.read("/etc/os-release")
        families = " ".join(line.partition("=")[2].strip('"') for line in release.splitlines()
                            if line.startswith(("ID=", "ID_LIKE=")))  # fmt: skip
        if any(f in families for f in ("fedora", "rhel", "centos")):
            return f"dnf install -y {fedora or debian}"
        if "suse" in families:
            return f"zypper install -y {fedora or debian}"
        if "arch" in families:
            return f"pacman -S --noconfirm {fedora or debian}"
        if "alpine" in families:
            return f"apk add {fedora or debian}"
        return f"apt-get install -y {debian}"


def _own_path(machine: Machine) -> list[str]:
    return os.environ.get("PATH", "").split(os.pathsep) if machine.root == Path("/") else []
