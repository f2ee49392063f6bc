"""Tars out of and into a root directory: whole, mapped, streamed, and never outside of it."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import tarfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from hivemind.drivers.runtimes.files import Owners, read_tar, write_tar
from hivemind.errors import HivemindError, Invalid, NotFound

pytestmark = pytest.mark.anyio
INSIDE = Owners(((0, 200_000, 65_536),), ((0, 300_000, 65_536),))


@contextmanager
def opened(path: Path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def taken(root: Path, path: str, **more) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with opened(root) as fd:
        data = b"".join([chunk async for chunk in read_tar(fd, path, **more)])
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            content = archive.extractfile(info) if info.isfile() else None
            found[info.name] = (info, content.read() if content else b"")
    return found


async def put(root: Path, path: str, data: bytes, **more) -> None:
    with opened(root) as fd:
        await write_tar(fd, path, pieces(data), **more)


def tar(*entries: tuple[str, object], **fields: object) -> bytes:
    """Of files (bytes), directories (None), or whatever `TarInfo` a function makes of its name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, what in entries:
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if what is None else 0o640
            for key, value in fields.items():
                setattr(info, key, value)
            if what is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            elif isinstance(what, bytes):
                info.size = len(what)
                archive.addfile(info, io.BytesIO(what))
            else:
                what(info)  # type: ignore[operator]
                archive.addfile(info)
    return out.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> Callable[[tarfile.TarInfo], None]:
    def made(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, target

    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("of the host")
    made = tmp_path / "root"
    (made / "etc").mkdir(parents=True)
    (made / "etc" / "shadow").write_text("of the container")
    (made / "data").mkdir()
    return made


async def test_a_tree_comes_out_as_it_is(root: Path) -> None:
    (root / "data" / "deep").mkdir()
    (root / "data" / "deep" / "big").write_bytes(b"x" * 3_000_000)
    (root / "data" / "empty").touch()
    (root / "data" / "link").symlink_to("/etc/shadow")
    os.chmod(root / "data" / "empty", 0o4755)
    os.mkfifo(root / "data" / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(root / "data" / "socket"))
        found = await taken(root, "/data")
    assert set(found) == {"data", "data/deep", "data/deep/big", "data/empty", "data/link"}
    assert found["data/deep/big"][1] == b"x" * 3_000_000
    assert found["data/empty"][0].mode == 0o4755
    assert found["data/link"][0].linkname == "/etc/shadow"


async def test_names_in_any_bytes_come_out_and_in(root: Path) -> None:
    name = os.fsdecode(b"caf\xe9 " + b"n" * 120)
    (root / "data" / name).write_text("odd")
    with opened(root) as fd:
        data = b"".join([chunk async for chunk in read_tar(fd, "/data")])
        (root / "data" / name).unlink()
        await write_tar(fd, "/", pieces(data))
    assert (root / "data" / name).read_text() == "odd"


async def test_links_on_the_way_are_followed_as_the_container_does(root: Path) -> None:
    (root / "up").symlink_to("../../../etc")
    (root / "absolute").symlink_to("/etc")
    for path in ("/up/shadow", "/absolute/shadow", "/data/../../../etc/shadow"):
        assert (await taken(root, path))["shadow"][1] == b"of the container"


async def test_a_link_to_the_hosts_files_is_told_as_a_link_and_leads_nowhere(
    root: Path, tmp_path: Path
) -> None:
    (root / "out").symlink_to(tmp_path / "outside" / "secret")
    (root / "outdir").symlink_to(tmp_path / "outside")
    info, content = (await taken(root, "/out"))["out"]
    assert info.issym() and not content
    with pytest.raises(NotFound):
        await taken(root, "/outdir/secret")


async def test_what_is_not_there_is_not_found_and_a_fifo_is_refused(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(NotFound, match="there is no /nothing"):
        await taken(root, "/nothing")
    with pytest.raises(Invalid, match="cannot be copied"):
        await taken(root, "/fifo")


async def test_what_the_kernel_makes_up_is_refused_and_left_out() -> None:
    with pytest.raises(Invalid, match="made up"):
        await taken(Path("/"), "/proc/self/status")


async def test_a_file_with_holes_stays_small_on_the_way_and_after(root: Path) -> None:
    size = 1 << 30
    holes = root / "data" / "holes"
    fd = os.open(holes, os.O_WRONLY | os.O_CREAT)
    os.pwrite(fd, b"middle", 1 << 20)
    os.ftruncate(fd, size)
    os.close(fd)
    with opened(root) as fd:
        data = b"".join([chunk async for chunk in read_tar(fd, "/data/holes")])
        assert len(data) < 1 << 20
        await write_tar(fd, "/etc", pieces(data, 100_000))
    back = root / "etc" / "holes"
    assert back.stat().st_size == size
    assert back.stat().st_blocks * 512 < 1 << 20
    fd = os.open(back, os.O_RDONLY)
    assert os.pread(fd, 8, 1 << 20) == b"middle\0\0"
    os.close(fd)


async def test_whoever_stops_listening_stops_the_reading(root: Path) -> None:
    (root / "data" / "big").write_bytes(b"x" * 20_000_000)
    before = {thread.ident for thread in threading.enumerate()}
    with opened(root) as fd:
        stream = read_tar(fd, "/data")
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.ident not in before:
            await asyncio.to_thread(thread.join, 10) if thread.name == "files" else None
    assert not [t for t in threading.enumerate() if t.name == "files"]


async def test_the_loop_goes_on_while_files_are_read(root: Path) -> None:
    os.truncate(os.open(root / "data" / "dense", os.O_CREAT | os.O_WRONLY), 0)
    (root / "data" / "dense").write_bytes(os.urandom(1 << 20) * 30)
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(turning())
    await taken(root, "/data")
    task.cancel()
    assert turns > 30


async def test_an_archive_lands_with_its_owners_and_modes(root: Path) -> None:
    await put(root, "/data", tar(("sub", None), ("sub/file", b"hello"), uid=12, gid=34))
    made = (root / "data" / "sub" / "file").stat()
    assert (root / "data" / "sub" / "file").read_bytes() == b"hello"
    assert (made.st_mode & 0o7777, made.st_uid, made.st_gid) == (0o640, 12, 34)


async def test_numbers_are_those_inside_the_user_namespace(root: Path) -> None:
    await put(root, "/data", tar(("new/sub/file", b"hello"), uid=12, gid=34), owners=INSIDE)
    made = (root / "data" / "new" / "sub" / "file").stat()
    assert (made.st_uid, made.st_gid) == (200_012, 300_034)
    made = (root / "data" / "new").stat()
    assert (made.st_uid, made.st_gid) == (200_000, 300_000)
    info, _ = (await taken(root, "/data", owners=INSIDE))["data/new/sub/file"]
    assert (info.uid, info.gid) == (12, 34)
    foreign, _ = (await taken(root, "/etc/shadow", owners=INSIDE))["shadow"]
    assert (foreign.uid, foreign.gid) == (65_534, 65_534)
    with pytest.raises(Invalid, match="whom the container does not have"):
        await put(root, "/data", tar(("file", b""), uid=70_000), owners=INSIDE)


@pytest.mark.parametrize(
    "archive",
    [
        tar(("../evil", b"x")),
        tar(("a/../../evil", b"x")),
        tar(("out", link("../../outside")), ("out/evil", b"x")),
        tar(("out", link("/etc")), ("out/evil", b"x")),
        tar(("out", link("../etc")), ("out/evil", b"x")),
        tar(("hard", link("../etc/shadow", tarfile.LNKTYPE))),
        tar(("hard", link("/etc/shadow", tarfile.LNKTYPE))),
        tar(("soft", link("/etc/shadow")), ("hard", link("soft", tarfile.LNKTYPE))),
        tar(("soft", link("..")), ("hard", link("soft/etc/shadow", tarfile.LNKTYPE))),
        tar(("device", link("", tarfile.CHRTYPE))),
        tar(("disk", link("", tarfile.BLKTYPE))),
        tar(("fifo", link("", tarfile.FIFOTYPE))),
    ],
)
async def test_nothing_lands_outside_the_directory(root: Path, tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(HivemindError):
        await put(root, "/data", archive)
    assert not list(tmp_path.rglob("*evil*"))
    assert (root / "etc" / "shadow").read_text() == "of the container"
    assert (root / "etc" / "shadow").stat().st_nlink == 1
    assert not [path for path in (root / "data").iterdir() if not path.is_symlink()]


async def test_an_absolute_name_lands_below_the_directory(root: Path) -> None:
    await put(root, "/data", tar(("/etc/passwd", b"x")))
    assert (root / "data" / "etc" / "passwd").read_bytes() == b"x"


async def test_links_that_are_there_are_followed_while_they_stay_inside(root: Path, tmp_path: Path) -> None:
    (root / "data" / "inner").mkdir()
    (root / "data" / "alias").symlink_to("inner")
    (root / "var").symlink_to("/data")
    (root / "data" / "trap").symlink_to(tmp_path / "outside")
    await put(root, "/data", tar(("alias", None), ("alias/file", b"1")))
    await put(root, "/", tar(("var/other", b"2")))
    assert (root / "data" / "inner" / "file").read_bytes() == b"1"
    assert (root / "data" / "other").read_bytes() == b"2"
    with pytest.raises(HivemindError):
        await put(root, "/data", tar(("trap/evil", b"x")))
    with pytest.raises(HivemindError):
        await put(root, "/", tar(("data/trap/evil", b"x")))
    assert not list(tmp_path.rglob("*evil*"))


async def test_a_link_is_replaced_by_a_file_and_not_written_through(root: Path, tmp_path: Path) -> None:
    (root / "data" / "name").symlink_to(tmp_path / "outside" / "secret")
    await put(root, "/data", tar(("name", b"mine")))
    assert (root / "data" / "name").read_bytes() == b"mine"
    assert (tmp_path / "outside" / "secret").read_text() == "of the host"


async def test_a_directory_swapped_for_a_link_while_unpacking_leads_nowhere(
    root: Path, tmp_path: Path
) -> None:
    """Somebody inside swaps `sub` for a link to the host's directory as fast as he can, through a thousand files."""
    archive = tar(("sub", None), *((f"sub/evil{number}", b"x") for number in range(1000)))
    stop = threading.Event()

    def swap() -> None:
        sub, aside = root / "data" / "sub", root / "data" / "aside"
        trap = root / "data" / "trap"
        trap.symlink_to(tmp_path / "outside")
        while not stop.is_set():
            try:
                os.rename(sub, aside)
                os.rename(trap, sub)
                os.rename(sub, trap)
                os.rename(aside, sub)
            except OSError:
                continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(3):
            try:
                await put(root, "/data", archive)
            except HivemindError:
                pass
    finally:
        stop.set()
        swapper.join()
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


async def test_an_archive_that_breaks_off_leaves_the_old_file(root: Path) -> None:
    (root / "data" / "file").write_text("old")
    whole = tar(("file", b"x" * 100_000))
    with pytest.raises(Invalid):
        await put(root, "/data", whole[:50_000])
    assert (root / "data" / "file").read_text() == "old"
    assert os.listdir(root / "data") == ["file"]


async def test_a_sender_who_fails_is_told_and_leaves_nothing(root: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield tar(("file", b"x" * 100_000))[:50_000]
        raise ConnectionResetError("left")

    with opened(root) as fd, pytest.raises(ConnectionResetError):
        await write_tar(fd, "/data", failing())
    for thread in threading.enumerate():
        if thread.name == "files":
            await asyncio.to_thread(thread.join, 10)
    assert os.listdir(root / "data") == []


@pytest.mark.parametrize("rubbish", [b"", b"x" * 5000, os.urandom(20_000)])
async def test_what_is_no_archive_is_refused(root: Path, rubbish: bytes) -> None:
    if rubbish:
        with pytest.raises(Invalid):
            await put(root, "/data", rubbish)
    assert os.listdir(root / "data") == []


async def test_an_absurd_name_does_not_fill_memory(root: Path) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with pytest.raises(Invalid, match="absurdly long"):
        await put(root, "/data", header.tobuf(tarfile.USTAR_FORMAT) + bytes(16 << 20))


async def test_into_a_file_or_nothing_is_refused(root: Path) -> None:
    with pytest.raises(Invalid):
        await put(root, "/etc/shadow", tar(("x", b"")))
    with pytest.raises(NotFound):
        await put(root, "/nothing", tar(("x", b"")))
    with pytest.raises(Invalid):
        await put(root, "/", tar(("etc", b"")))
    with pytest.raises(Invalid):
        await put(root, "/etc", tar(("shadow", None)))


async def test_hard_links_inside_an_archive_are_kept(root: Path) -> None:
    await put(root, "/data", tar(("one", b"x"), ("two", link("one", tarfile.LNKTYPE))))
    assert (root / "data" / "two").stat().st_nlink == 2


async def test_with_the_rights_of_a_user_nothing_is_read_that_he_may_not_read(tmp_path: Path) -> None:
    """He may have made the directory that was named a link to one of root's; the daemon itself stays what it is."""
    top = tmp_path / "top"
    (top / "own").mkdir(parents=True)
    (top / "own" / "fine").write_text("fine")
    (top / "shadow").write_text("secret")
    (top / "shadow").chmod(0o600)
    (top / "closed").mkdir(mode=0o700)
    (top / "closed" / "open").write_text("secret")
    nobody = (65534, 65534, [65534])
    assert (await taken(top, "own", reader=nobody))["own/fine"][1] == b"fine"
    for path in ("shadow", "closed", "closed/open", "."):
        with pytest.raises((HivemindError, PermissionError)):
            await taken(top, path, reader=nobody)
    assert (await taken(top, "shadow"))["shadow"][1] == b"secret"
