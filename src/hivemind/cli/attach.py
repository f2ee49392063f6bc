"""This terminal tied to a command that runs elsewhere: keys there, output here, its size, its exit code."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

from hivemind.client.exec import ExecSession
from hivemind.errors import Invalid, Unavailable

_CHUNK = 1 << 16
DETACH = "ctrl-p,ctrl-q"


class Detach:
    """Finds the keys that leave among those that are typed. With no keys nothing leaves."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be passed on, and whether the keys came. The beginning of the keys is held back until it is
        known what comes of it."""
        if not self._keys:
            return data, False
        whole = self._held + data
        found = whole.find(self._keys)
        if found >= 0:
            return whole[:found], True
        for length in range(min(len(self._keys) - 1, len(whole)), 0, -1):
            if whole.endswith(self._keys[:length]):
                self._held = whole[-length:]
                return whole[:-length], False
        self._held = b""
        return whole, False


def detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as what a terminal sends. Raises `Invalid`."""
    keys = b""
    for word in filter(None, text.lower().split(",")):
        letter = word.removeprefix("ctrl-")
        if word != letter and len(letter) == 1 and letter in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            keys += bytes((ord(letter.upper()) & 0x1F,))
        elif len(word) == 1 and word.isascii():
            keys += word.encode()
        else:
            raise Invalid(f"{word!r} is no key", hint=f"write the keys like {DETACH}")
    return keys


def attach(session: ExecSession, *, interactive: bool, tty: bool, detach: bytes = b"") -> int | None:
    """Until the command ends: its exit code. None when the `detach` keys were typed."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        resized = -1
        if tty and sys.stdin.isatty():
            stack.enter_context(_raw(sys.stdin.fileno()))
            resized = stack.enter_context(_resizes())
        keys = Detach(detach if tty and sys.stdin.isatty() else b"")
        if not _pump(session, sys.stdin.fileno() if interactive else -1, resized, keys):
            return None
    if session.exit_code is None:
        raise Unavailable("the session ended before the command did", hint="run it again")
    return session.exit_code


def size() -> tuple[int, int]:
    """Columns and rows of our terminal; what terminals once had where there is none, or none that knows its size."""
    columns, rows = os.get_terminal_size(sys.stdin.fileno()) if sys.stdin.isatty() else (0, 0)
    return columns or 80, rows or 24


def _pump(session: ExecSession, keys: int, resized: int, detach: Detach) -> bool:
    """Carries bytes both ways with `select`; nothing here asks twice. False when the keys to leave came."""
    sources = [session.fileno(), *(fd for fd in (keys, resized) if fd >= 0)]
    while True:
        ready = [] if session.pending else select.select(sources, [], [])[0]
        if resized in ready:
            os.read(resized, _CHUNK)
            session.resize(*size())
        if keys in ready:
            data = _read(keys)
            passed, left = detach.feed(data)
            if passed:
                session.write(passed)
            if left:
                return False
            if not data:
                session.close_stdin()
                sources.remove(keys)
        if session.pending or session.fileno() in ready:
            output = session.read()
            if output is None:
                return True
            stream, data = output
            _write_all(2 if stream == "stderr" else 1, data)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:  # a terminal that went away reads as its end
        return b""


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Keys arrive one by one and unread, Ctrl-C among them."""
    import termios
    import tty

    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSANOW)  # what was typed already is not lost
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizes() -> Iterator[int]:
    """A descriptor that becomes readable when the terminal changes its size."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def tell(number: int, frame: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writer, b".")

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield reader
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(reader)
        os.close(writer)
