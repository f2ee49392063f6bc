"""One long-lived `nft -i` fed through a pipe: a tenth of a millisecond a change instead of a process each.

Each change is one line, which nft carries out as one transaction. After it goes a marker line that nft cannot
parse: nft complains about it on its unbuffered stderr, and whatever it said before that complaint is the
error of the change. So one stream tells in order what succeeded and what failed.

Works on the calling thread and in the network namespace of that thread.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence

from hivemind.errors import Unsupported

_PATIENCE = 20.0
_RENEW_AFTER = 8 << 20
"""Bytes of changes after which the child is replaced: it remembers every line it was given."""


class NftError(Exception):
    """nft refused a change; nothing of it was carried out."""


class ChildDied(NftError):
    """nft ended before it answered; the change may or may not have been carried out."""


class Nft:
    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._changes = 0
        self._fed = 0

    def apply(self, statements: Sequence[str]) -> None:
        """Carries out all statements or none. Raises NftError with nft's words, or ChildDied."""
        if not statements:
            return
        if any("\n" in statement for statement in statements):
            raise ValueError("an nft statement must be one line")
        if self._fed > _RENEW_AFTER:
            self.close()
        child = self._running()
        self._changes += 1
        marker = f"ack{self._changes}"
        line = "; ".join(statements) + "\n" + marker + "\n"
        self._fed += len(line)
        assert child.stdin is not None
        try:
            child.stdin.write(line.encode())
            child.stdin.flush()
        except BrokenPipeError:
            self.close()
            raise ChildDied("nft ended unexpectedly") from None
        said = self._until(child, marker)
        errors = [line.removeprefix("Error: ") for line in said.splitlines() if line.startswith("Error: ")]
        if errors:
            raise NftError(f"nft refused a change: {errors[0]}")

    def close(self) -> None:
        child, self._child = self._child, None
        self._fed = 0
        if child is None:
            return
        for pipe in (child.stdin, child.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # It is dead; what was still buffered for it is lost, as its caller was told.
        try:
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            program = shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
            if program is None:
                raise Unsupported("nft is not installed", hint="Install it: apt install nftables")
            self._child = subprocess.Popen(
                [program, "-i"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"HOME": "/nonexistent", "LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
                start_new_session=True,  # Ctrl-C at the daemon's terminal is not for it.
            )
        return self._child

    def _until(self, child: subprocess.Popen[bytes], marker: str) -> str:
        """What nft said before it complained about the marker."""
        assert child.stderr is not None
        source = child.stderr.fileno()
        ending = f"\n{marker}\n".encode()
        deadline = time.monotonic() + _PATIENCE
        said = b""
        while True:
            at = said.find(ending)
            if at >= 0 and said.endswith(b"^\n"):
                complaint = said.rfind(b"Error: ", 0, at)
                return said[: max(complaint, 0)].decode(errors="replace")
            ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(source, 1 << 16) if ready else b""
            if not chunk:
                child.kill()
                self.close()
                raise ChildDied(
                    "nft ended unexpectedly" if ready else f"nft was silent for {_PATIENCE:.0f} s"
                )
            said += chunk
