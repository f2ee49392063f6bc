"""Backups by restic to a real S3 server (OpenStack Swift)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind.drivers.volumes import commands
from hivemind.drivers.volumes.restic import Labels, Repository, first_difference
from hivemind.errors import Forbidden, NotFound, Unavailable, Unsupported
from swift_store import swift_store

pytestmark = [pytest.mark.anyio, pytest.mark.real]
DB = Labels(hive="here", project="default", volume="db", consistency="crash", size=7)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a repository on the S3 server is made with. Directories are tested with the databases, end to end."""
    with swift_store(tmp_path / "swift") as store:
        yield {
            "location": f"s3:{store.endpoint}/backups/hive", "access_key": store.access_key,
            "secret_key": store.secret_key, "ca": store.ca.read_text(),
        }  # fmt: skip


def repository(tmp_path: Path, target: dict[str, str], password: str = "correct horse") -> Repository:
    (tmp_path / "cache").mkdir(exist_ok=True)
    return Repository(**target, password=password, cache=tmp_path / "cache")


def files(tmp_path: Path) -> Path:
    top = tmp_path / "volume/data"
    (top / "deep/er").mkdir(parents=True)
    (top / "deep/file").write_bytes(os.urandom(3 << 20))
    (top / "deep/er/empty").touch()
    (top / "link").symlink_to("/nowhere")
    os.chown(top, 101, 102)
    top.chmod(0o700)
    os.utime(top / "deep/file", (1, 2))
    return top


async def test_what_is_backed_up_comes_back_byte_by_byte(tmp_path: Path, target: dict[str, str]) -> None:
    store, top = repository(tmp_path, target), files(tmp_path)
    with pytest.raises(NotFound):
        await store.open(make=False)
    await store.open(make=True)
    heard: list[float] = []
    first = await store.backup(top, DB, heard.append)
    assert first.added > 3 << 20
    (top / "new").write_text("new")
    second = await store.backup(top, DB, heard.append)
    assert second.added < 1 << 20, "only what is new is stored"
    assert all(0 <= part <= 1 for part in heard)
    other = Labels(hive="there", project="default", volume="db")
    await store.backup(top, other, heard.append)

    elsewhere = Repository(**target, password="correct horse", cache=_made(tmp_path / "other"))
    await elsewhere.open(make=False)
    found = await elsewhere.list("project=default", "volume=db")
    assert [(b.hive, b.consistency, b.size) for b in found] == [("here", "crash", 7)] * 2 + [("there", "", 0)]
    assert found[1].id.startswith(second.id)
    back = _made(tmp_path / "back/data")
    await elsewhere.restore(second.id, back)
    assert first_difference(top, back) == ""
    assert (back.stat().st_uid, back.stat().st_gid, back.stat().st_mode & 0o777) == (101, 102, 0o700)

    await store.keep(DB, 1)
    assert [b.hive for b in await store.list()] == ["here", "there"], "each hive forgets its own only"
    with pytest.raises(NotFound):
        await store.restore(first.id, _made(tmp_path / "gone/data"))
    with pytest.raises(Forbidden):
        await repository(tmp_path, target, "wrong").open(make=True)
    with pytest.raises(Unavailable, match="signature"):
        await repository(tmp_path, {**target, "secret_key": "wrong"}).open(make=True)


async def test_password_and_keys_are_in_no_command_line(tmp_path: Path) -> None:
    store = Repository(
        str(tmp_path / "nas"), "correct horse", access_key="key", secret_key="battery staple",
        cache=_made(tmp_path / "cache"),
    )  # fmt: skip
    seen: set[bytes] = set()
    work = asyncio.ensure_future(store.open(make=True))
    while not work.done():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (words := _words(entry)) and b"restic" in words:
                seen.add(words)
        await asyncio.sleep(0)
    await work
    assert seen, "restic was seen at work"
    assert not any(b"horse" in words or b"staple" in words for words in seen)
    assert b"horse" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


async def test_without_restic_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_PATH", str(tmp_path))
    with pytest.raises(Unsupported) as told:
        await repository(tmp_path, {"location": str(tmp_path / "nas")}).open(make=True)
    assert told.value.hint == "apt install restic"


def test_every_difference_is_found(tmp_path: Path) -> None:
    one = files(tmp_path / "a")

    def copy() -> Path:
        import shutil

        other = tmp_path / "b"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(one, other, symlinks=True)
        for path in (one, *one.rglob("*")):
            found = path.lstat()
            os.chown(other / path.relative_to(one), found.st_uid, found.st_gid, follow_symlinks=False)
        return other

    assert first_difference(one, copy()) == ""
    changed = copy()
    data = bytearray((changed / "deep/file").read_bytes())
    data[-1] ^= 1
    times = (changed / "deep/file").stat()
    (changed / "deep/file").write_bytes(data)
    os.utime(changed / "deep/file", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert first_difference(one, changed) == "deep/file: its content"
    for spoil, said in (
        (lambda top: (top / "deep/er/empty").unlink(), "deep/er/empty: it is missing"),
        (lambda top: (top / "more").touch(), "more: nobody backed it up"),
        (lambda top: (top / "deep").chmod(0o711), "deep: owner or mode"),
        (lambda top: os.chown(top, 0, 0), ".: owner or mode"),
        (lambda top: (top / "deep/file").touch(), "deep/file: size or time"),
        (
            lambda top: ((top / "link").unlink(), (top / "link").symlink_to("/x")),
            "link: where the link leads",
        ),
    ):
        spoil(changed := copy())
        assert first_difference(one, changed) == said


def _words(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path
