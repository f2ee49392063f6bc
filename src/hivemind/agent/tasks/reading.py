"""Reading what a task wrote where it may do as it likes: only regular files, only so much, and no links."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import Invalid

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BELOW = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS


def read_text(top: Path, name: str, most: int, what: str) -> str | None:
    """The text of the file `name` below `top`; None when there is none. Raises `Invalid`, which says `what`."""
    try:
        directory = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        named = kernel.open_below(directory, name, os.O_PATH, _BELOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(f"{what} cannot be read: {os.strerror(error.errno or 5)}") from None
    finally:
        os.close(directory)
    try:
        return decoded(_data(named, most, what), most, what)
    finally:
        os.close(named)


def _data(named: int, most: int, what: str) -> bytes:
    """Opened only once it is known to be a file: a device may do something when it is opened."""
    if not stat.S_ISREG(os.fstat(named).st_mode):
        raise Invalid(f"{what} is no file any more", hint='append to it: >> "$HIVEMIND_OUTPUT"')
    file = os.open(f"/proc/self/fd/{named}", _FLAGS)
    try:
        data = b""
        while len(data) <= most and (block := os.read(file, most + 1 - len(data))):
            data += block
        return data
    finally:
        os.close(file)


def decoded(data: bytes, most: int, what: str) -> str:
    if len(data) > most:
        raise Invalid(f"{what} is larger than {most // 1024} KiB", hint="keep large results as an artifact")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{what} is not text in UTF-8", hint="keep other data as an artifact") from None
