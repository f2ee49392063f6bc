"""Reading what a task wrote where it may do as it likes: only regular files, only so much, and no links."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import Invalid

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_BELOW = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS


def read_text(top: Path, name: str, most: int, what: str) -> str | None:
    """The text of the file `name` below `top`; None when there is none. Raises `Invalid`, which says `what`."""
    try:
        directory = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        file = kernel.open_below(directory, name, _FLAGS, _BELOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(f"{what} cannot be read: {os.strerror(error.errno or 5)}") from None
    finally:
        os.close(directory)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Invalid(f"{what} is no file any more", hint='append to it: >> "$HIVEMIND_OUTPUT"')
        data = b""
        while len(data) <= most and (block := os.read(file, most + 1 - len(data))):
            data += block
    finally:
        os.close(file)
    return decoded(data, most, what)


def decoded(data: bytes, most: int, what: str) -> str:
    if len(data) > most:
        raise Invalid(f"{what} is larger than {most // 1024} KiB", hint="keep large results as an artifact")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{what} is not text in UTF-8", hint="keep other data as an artifact") from None
