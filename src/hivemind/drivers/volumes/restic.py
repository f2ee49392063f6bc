"""Backups by restic(1): encrypted, each stores only what is new, in a directory or an S3 bucket.

Password and keys go through the child's environment: no list of processes and no disk ever shows them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from hivemind.drivers.volumes.commands import Failed, follow, run
from hivemind.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from hivemind.model.backup import Backup

_OURS = "hivemind"
_PATIENCE = 60.0
"""Seconds until a target that does not answer is given up; restic itself would try for a quarter of an hour."""
_TOP = "data"
"""What the one directory of each backup is called."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself, so that also a hive that knows nothing finds it."""

    hive: str
    project: str
    volume: str
    consistency: str = ""
    size: int = 0

    @property
    def series(self) -> str:
        """Which backups replace each other."""
        return f"{_OURS},hive={self.hive},project={self.project},volume={self.volume}"


class Made(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """Or its beginning, which is all that some versions say."""
    added: int


class Repository:
    """One backup target. Two operations at a time would lock each other out; the caller sees to that."""

    def __init__(
        self,
        location: str,
        password: str,
        *,
        access_key: str = "",
        secret_key: str = "",
        ca: str = "",
        cache: Path,
    ) -> None:
        """`ca`: certificates in PEM form to trust instead of the system's."""
        if any("\0" in text for text in (password, access_key, secret_key, ca)):
            raise Invalid(
                "a password or key for backups holds a NUL byte", hint="set it anew in the target's secret"
            )
        self._location = location
        self._env = {
            "RESTIC_REPOSITORY": location,
            "RESTIC_PASSWORD": password,
            "RESTIC_CACHE_DIR": str(cache),
            "RESTIC_PROGRESS_FPS": "2",
            "HOME": str(cache),
            **{name: os.environ[name] for name in _PROXIES if name in os.environ},
        }
        if ca:
            trusted = cache / f"ca-{hashlib.sha256(ca.encode()).hexdigest()[:16]}.pem"
            trusted.write_text(ca)
            self._env["SSL_CERT_FILE"] = str(trusted)
        if access_key:
            self._env |= {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}

    async def open(self, *, make: bool) -> None:
        """Raises `Forbidden` for a wrong password, `NotFound` if nothing was ever backed up there, unless `make`."""
        try:
            async with asyncio.timeout(_PATIENCE):
                try:
                    await self._run("unlock")  # takes away only what a process that is dead has left
                except NotFound:
                    if not make:
                        raise
                    await self._run("init")
        except TimeoutError:
            raise Unavailable(
                f"{self._location} does not answer", hint="is it reachable from this node?"
            ) from None

    async def backup(self, top: Path, labels: Labels, heard: Callable[[float], None]) -> Made:
        """Of a directory called `data`. `heard` gets how much of it is done, from 0 to 1."""
        assert top.name == _TOP
        last: dict[str, Any] = {}

        def line(text: bytes) -> None:
            said = _json(text)
            if said.get("message_type") == "status":
                heard(float(said.get("percent_done", 0.0)))
            elif said.get("message_type") == "summary":
                last.update(said)

        tags = [*labels.series.split(","), f"consistency={labels.consistency}", f"size={labels.size}"]
        words = [word for tag in tags for word in ("--tag", tag)]
        try:
            await follow(
                "restic", "backup", "--json", "--host", _OURS, *words, _TOP,
                env=self._env, cwd=str(top.parent), heard=line,
            )  # fmt: skip
        except Failed as error:
            raise self._explained(error) from None
        if not last.get("snapshot_id"):
            raise Unavailable("restic ended without saying what it stored")
        return Made(id=last["snapshot_id"], added=int(last.get("data_added", 0)))

    async def restore(self, id: str, place: Path) -> None:
        """Into an empty directory called `data`, with its owner and mode. Raises `NotFound`."""
        assert place.name == _TOP
        await self._run("restore", id, "--target", str(place.parent), "--include", f"/{_TOP}")

    async def list(self, *tags: str) -> list[Backup]:
        """Ours, oldest first."""
        said = await self._run("snapshots", "--json", "--tag", ",".join((_OURS, *tags)))
        found = [_backup(each) for each in msgspec.json.decode(said, type=list[dict[str, Any]] | None) or []]
        return sorted(found, key=lambda backup: (backup.time, backup.id))

    async def keep(self, labels: Labels, count: int) -> None:
        """Forgets all but the newest so many of that volume."""
        await self._run(
            "forget",
            "--tag",
            labels.series,
            "--group-by",
            "",
            "--keep-last",
            str(count),
            "--prune",
            "--quiet",
        )

    async def _run(self, *words: str) -> str:
        try:
            return await run("restic", *words, env=self._env)
        except Failed as error:
            raise self._explained(error) from None

    def _explained(self, error: Failed) -> Exception:
        said = error.said
        if "Is there a repository" in said:
            if self._location.startswith("s3:") and "does not exist" not in said:
                return Unavailable(
                    f"{self._location} does not answer: {said}", hint="check address and credentials"
                )
            return NotFound(
                f"nothing was ever backed up to {self._location}", hint="hivemind volume backup NAME"
            )
        if "wrong password" in said or "no key found" in said:
            return Forbidden(
                f"the backups in {self._location} have another password",
                hint="set the right one in the target's secret",
            )
        if "no matching ID" in said or "no snapshot found" in said:
            return NotFound(
                f"there is no such backup in {self._location}", hint="hivemind volume backups shows them"
            )
        if "already locked" in said:
            return Conflict(f"{self._location} is just being used by another node", hint="it is tried again")
        return Unavailable(f"restic: {said}", hint=f"does {self._location} answer, and is there room?")


def _backup(said: dict[str, Any]) -> Backup:
    tags = dict(tag.partition("=")[::2] for tag in said.get("tags") or ())
    return Backup(
        id=said["id"],
        time=_milliseconds(said["time"]),
        volume=tags.get("volume", ""),
        project=tags.get("project", ""),
        hive=tags.get("hive", ""),
        consistency=tags.get("consistency", ""),
        size=int(tags.get("size") or 0),
    )


def _milliseconds(text: str) -> int:
    """RFC 3339, with the nanoseconds that Go writes and Python does not read."""
    exact = re.sub(r"(\.\d{3})\d*|(?<=:\d\d)(?=[Z+-])", lambda match: match[1] or ".000", text)
    return round(datetime.fromisoformat(exact.replace("Z", "+00:00")).timestamp() * 1000)


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def first_difference(one: Path, other: Path) -> str:
    """The first thing in which two trees differ; empty when they are alike: names, kinds, owners, modes, times,
    links and every byte."""
    for path, name in _walk(one):
        why = _differs(path, other / name)
        if why:
            return f"{name}: {why}"
    extra = {name for _, name in _walk(other)} - {name for _, name in _walk(one)}
    return f"{min(extra)}: nobody backed it up" if extra else ""


def _walk(top: Path) -> Iterable[tuple[Path, str]]:
    yield top, "."
    for directory, names, files in os.walk(top):
        for name in sorted((*names, *files)):
            path = Path(directory, name)
            yield path, str(path.relative_to(top))


def _differs(one: Path, other: Path) -> str:
    a = one.lstat()
    try:
        b = other.lstat()
    except FileNotFoundError:
        return "it is missing"
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid):
        return "owner or mode"
    if one.is_symlink():
        return "" if os.readlink(one) == os.readlink(other) else "where the link leads"
    if not one.is_file():
        return ""
    if (a.st_size, a.st_mtime_ns) != (b.st_size, b.st_mtime_ns):
        return "size or time"
    return "" if _same_bytes(one, other) else "its content"


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as a, other.open("rb") as b:
        while block := a.read(1 << 20):
            if block != b.read(1 << 20):
                return False
        return not b.read(1)
