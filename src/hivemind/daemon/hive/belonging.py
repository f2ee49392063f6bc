"""What a node remembers of the hive that it belongs to, in `cluster.json`: written whole or not at all, and readable
by its owner alone, because the hive's discovery secret is in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from hivemind.errors import Corrupt, Unavailable
from hivemind.model.base import UNREADABLE, Record, decode
from hivemind.model.hive import NodeRole
from hivemind.transport.contract import Address

Phase = Literal["member", "joining", "admitted", "leaving"]
"""`joining`: it has a token and nobody has let it in yet; its own state is as it was. `admitted`: the hive has agreed
to it, and what it had agreed alone gives way to what the hive has. `leaving`: it is on its way back to being alone."""


class Belonging(Record, frozen=True, kw_only=True):
    hive: str
    name: str
    secret: bytes
    """The discovery secret, 32 bytes."""
    phase: Phase = "member"
    address: str = ""
    """`host:port` as `init` or `join` was told; the setting `cluster_address` beats it."""
    role: NodeRole = "member"
    token: str = ""
    """Of a join that is on its way."""
    forget_own: bool = False
    seeds: tuple[str, ...] = ()
    """`host:port` of nodes of the hive, as `join` was told; for as long as it is on its way."""
    incarnation: int = 0
    """Starts and returns of this node so far."""
    known: dict[str, tuple[Address, ...]] = {}
    """Where other nodes were reached last, by their ids."""


class Memory:
    """The file. `now` is what it holds; None: this node is alone."""

    def __init__(self, path: Path) -> None:
        """Raises `Corrupt` when it cannot be understood: a node must not forget which hive it decides for."""
        self._path = path
        self.now: Belonging | None = None
        try:
            self.now = decode(path.read_bytes(), Belonging)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error.strerror}") from None
        except UNREADABLE as error:
            raise Corrupt(
                f"{path} is damaged: {error}", hint="restore it from a backup of the data directory"
            ) from None

    def keep(self, belonging: Belonging) -> None:
        """Durable when it returns."""
        aside = self._path.with_suffix(f".{os.getpid()}")
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, msgspec.json.format(msgspec.json.encode(belonging), indent=2))
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(aside, self._path)
        self._settle()
        self.now = belonging

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)
        self._settle()
        self.now = None

    def _settle(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
