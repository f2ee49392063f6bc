"""The system's own tools as child processes: they leave the event loop alone and keep at it when it is busy."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

from hivemind.errors import HivemindError, Unavailable, Unsupported

_PACKAGES = {
    "mkfs.ext4": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "mount": "mount",
    "umount": "mount",
    "losetup": "mount",
    "fsfreeze": "util-linux",
    "mount.nfs": "nfs-common",
    "restic": "restic",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LINE = 1 << 22
"""Bytes of the longest line that is understood."""
_SAID = 400
"""Characters of a tool's complaint that are passed on: its end."""


class Failed(HivemindError):
    """A tool ended with another exit code than it should."""

    def __init__(self, command: str, code: int, said: str) -> None:
        super().__init__(f"{command} failed: {said or f'exit code {code}'}")
        self.exit = code
        self.said = said


def find(command: str) -> str:
    """Its path. Raises `Unsupported` with the command that installs it."""
    path = shutil.which(command, path=_PATH)
    if path is None:
        package = _PACKAGES.get(command, command)
        raise Unsupported(f"this machine has no {command}", hint=f"apt install {package}")
    return path


async def follow(
    command: str, *arguments: str, env: Mapping[str, str], cwd: str, heard: Callable[[bytes], None]
) -> None:
    """As `run`; `heard` gets each line of what it prints, as it comes."""
    process = await _begin(command, arguments, env, cwd)
    assert process.stdout and process.stderr
    complaints = asyncio.ensure_future(process.stderr.read())
    try:
        while line := await process.stdout.readline():
            heard(line)
        said = await complaints
        await process.wait()
    finally:
        complaints.cancel()
        await _end(process)
    if process.returncode:
        raise refusal(command, process.returncode, said.decode(errors="replace"))


async def run(
    command: str, *arguments: str, env: Mapping[str, str] | None = None, cwd: str | None = None,
    accept: tuple[int, ...] = (0,),
) -> str:  # fmt: skip
    """What it printed. Raises `Unsupported` if there is no such tool, `Unavailable` for a full disk, else `Failed`.

    Cancelled, it kills the tool and waits for its end."""
    process = await _begin(command, arguments, env, cwd)
    try:
        out, err = await process.communicate()
    finally:
        await _end(process)
    if process.returncode not in accept:
        raise refusal(command, process.returncode or 0, err.decode(errors="replace"))
    return out.decode(errors="replace")


async def _begin(
    command: str, arguments: tuple[str, ...], env: Mapping[str, str] | None, cwd: str | None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        find(command), *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": _PATH, "LC_ALL": "C.UTF-8", **(env or {})}, cwd=cwd, start_new_session=True, limit=_LINE,
    )  # fmt: skip


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started
        await process.wait()


def refusal(command: str, code: int, said: str) -> HivemindError:
    text = " ".join(said.split())[-_SAID:]
    if "No space left" in said:
        return Unavailable("the disk is full", hint="make room, then it goes on by itself: df -h")
    return Failed(command, code, text)
