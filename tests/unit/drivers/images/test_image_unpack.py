"""Layers from friends and enemies, unpacked."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from ociarchive import Layer

from hivemind.drivers.images.limits import Limits
from hivemind.drivers.images.unpack import OVERLAY_OPAQUE, unpack
from hivemind.errors import HivemindError, Invalid, TooLarge


def into(path: Path, layer: Layer | bytes, limits: Limits | None = None) -> Path:
    target = path / "layer"
    target.mkdir(exist_ok=True)
    data = layer if isinstance(layer, bytes) else layer.tar()
    unpack(io.BytesIO(data), target, limits or Limits())
    return target


def raw(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar in exactly this order, duplicates included."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, link, 0o755, 1_000_000_000
    return info, data


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def test_keeps_owner_mode_time_links_and_attributes(tmp_path: Path) -> None:
    layer = Layer()
    layer.directory("home/ann", 0o2750, 1000, 1001)
    layer.file("home/ann/tool", b"\0" * 300_000, 0o4711, 1000, 1001)
    layer.hardlink("home/ann/same", "home/ann/tool")
    layer.symlink("home/ann/away", "/../../etc/passwd")
    info, data = layer.entries["home/ann/tool"]
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + b"\x00" * 12
    info.pax_headers = {
        "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.user.note": "hello",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
    }
    root = into(tmp_path, layer)
    tool = root / "home/ann/tool"
    status = tool.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 1001, 0o4711)
    assert int(status.st_mtime) == info.mtime and tool.read_bytes() == data
    assert (root / "home/ann/same").stat().st_ino == status.st_ino
    assert os.readlink(root / "home/ann/away") == "/../../etc/passwd"
    assert int((root / "home/ann").stat().st_mtime) == info.mtime
    assert stat.S_IMODE((root / "home/ann").stat().st_mode) == 0o2750
    assert sorted(os.listxattr(tool)) == ["security.capability", "user.note"]
    assert os.getxattr(tool, "security.capability") == capability


def test_whiteouts_become_what_overlay_understands(tmp_path: Path) -> None:
    layer = Layer()
    layer.whiteout("etc/gone")
    layer.directory("var/cache")
    layer.opaque("var/cache")
    root = into(tmp_path, layer)
    assert is_whiteout(root / "etc/gone")
    assert os.getxattr(root / "var/cache", OVERLAY_OPAQUE) == b"y"
    assert list((root / "var/cache").iterdir()) == []


def test_overlay_hides_and_replaces_what_lies_below(tmp_path: Path) -> None:
    """The kernel is the judge: both layers are stacked and looked at."""
    below, above = Layer(), Layer()
    for name in ("a/old", "b/old", "c", "d/old"):
        below.file(name, "below")
    above.whiteout("a/old")
    above.opaque("b")
    above.file("b/new", "above")
    above.whiteout("c")
    above.whiteout("d")
    above.file("d/new", "above")
    folders = [tmp_path / name for name in ("below", "above", "merged")]
    for folder in folders:
        folder.mkdir()
    unpack(io.BytesIO(below.tar()), folders[0])
    unpack(io.BytesIO(above.tar()), folders[1])
    program = f"""
mount -t overlay overlay -o lowerdir={folders[1]}:{folders[0]} {folders[2]} && cd {folders[2]} && find . -type f | sort
"""
    import subprocess

    done = subprocess.run(["unshare", "-m", "sh", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["./b/new", "./d/new"]


def test_a_file_takes_the_place_of_a_whiteout_of_the_same_layer(tmp_path: Path) -> None:
    root = into(
        tmp_path, raw(entry(".wh.x"), entry("x", data=b"new"), entry("y", data=b"new"), entry(".wh.y"))
    )
    assert (root / "x").read_bytes() == b"new" and (root / "y").read_bytes() == b"new"


def test_a_second_entry_replaces_the_first(tmp_path: Path) -> None:
    root = into(
        tmp_path,
        raw(
            entry("a/a/a", data=b"1"), entry("a/a", data=b"2"), entry("b", data=b"3"), entry("b/c", data=b"4")
        ),
    )
    assert (root / "a/a").read_bytes() == b"2" and (root / "b/c").read_bytes() == b"4"


def test_links_among_parents_stay_inside(tmp_path: Path) -> None:
    """As inside the container: "/" is the layer's own root, and ".." does not leave it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    root = into(
        tmp_path,
        raw(
            entry("abs", tarfile.SYMTYPE, str(outside)),
            entry("abs/one", data=b"1"),
            entry("up", tarfile.SYMTYPE, "../../../../outside"),
            entry("up/two", data=b"2"),
            entry("lib", tarfile.SYMTYPE, "usr/lib"),
            entry("lib/three", data=b"3"),
            entry("hard", tarfile.LNKTYPE, "lib/three"),
        ),
    )
    assert list(outside.iterdir()) == []
    assert (root / str(outside).lstrip("/") / "one").read_bytes() == b"1"
    assert (root / "outside/two").read_bytes() == b"2"
    assert (root / "usr/lib/three").read_bytes() == (root / "hard").read_bytes() == b"3"


def test_a_file_never_goes_through_a_link_of_its_own_name(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    root = into(tmp_path, raw(entry("x", tarfile.SYMTYPE, str(victim)), entry("x", data=b"evil")))
    assert victim.read_text() == "precious" and (root / "x").read_bytes() == b"evil"


HOSTILE = {
    "dots": raw(entry("../evil", data=b"x")),
    "dots inside": raw(entry("a/../../evil", data=b"x")),
    "dots in a hard link": raw(entry("x", tarfile.LNKTYPE, "../victim")),
    "hard link to nothing": raw(entry("x", tarfile.LNKTYPE, "etc/shadow")),
    "hard link to itself": raw(entry("x", data=b"1"), entry("x", tarfile.LNKTYPE, "x")),
    "hard link to a directory": raw(entry("d", tarfile.DIRTYPE), entry("x", tarfile.LNKTYPE, "d")),
    "circle of links": raw(
        entry("a", tarfile.SYMTYPE, "b"), entry("b", tarfile.SYMTYPE, "a"), entry("a/x", data=b"x")
    ),
    "whiteout of dots": raw(entry(".wh..")),
    "whiteout of the parent": raw(entry("a/.wh...")),
    "whiteout of nothing": raw(entry(".wh.")),
    "disguised whiteout": raw(entry("x", tarfile.CHRTYPE)),
    "long name": raw(entry("n" * 300, data=b"x")),
    "unknown kind": raw(entry("x", b"Z")),
    "not a tar": b"this is no tar at all" * 100,
    "cut short": raw(entry("x", data=b"y" * 5000))[:2000],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_layers_are_refused_and_touch_nothing_outside(tmp_path: Path, case: str) -> None:
    (tmp_path / "victim").write_text("precious")
    with pytest.raises(Invalid) as caught:
        into(tmp_path, HOSTILE[case])
    assert caught.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer", "victim"]
    assert (tmp_path / "victim").stat().st_nlink == 1


def test_an_owner_that_is_nobody_is_refused(tmp_path: Path) -> None:
    info, data = entry("x", data=b"1")
    info.uid = 2**32 - 1
    with pytest.raises(Invalid, match="nobody"):
        into(tmp_path, raw((info, data)))


def test_an_oversized_extension_header_is_not_read(tmp_path: Path) -> None:
    info, data = entry("x", data=b"1")
    info.pax_headers = {"comment": "a" * (2**20 + 1)}
    with pytest.raises(Invalid, match="extension header"):
        into(tmp_path, raw((info, data)))


@pytest.mark.parametrize("limits", [Limits(bytes=1000), Limits(entries=2)])
def test_bombs_stop_at_the_limit(tmp_path: Path, limits: Limits) -> None:
    layer = Layer()
    for number in range(10):
        layer.file(f"f{number}", b"x" * 200)
    with pytest.raises(TooLarge) as caught:
        into(tmp_path, layer, limits)
    assert isinstance(caught.value, HivemindError) and caught.value.hint
    assert sum(path.stat().st_size for path in (tmp_path / "layer").iterdir()) <= 1000


def test_more_directories_than_descriptors_are_kept_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    layer = Layer()
    for number in range(300):
        layer.file(f"d{number}/e/f", str(number))
    for number in range(300):
        layer.hardlink(f"links/d{number}/f", f"d{number}/e/f")
    root = into(tmp_path, layer)
    assert (root / "links/d77/f").read_text() == "77"
    assert int((root / "d5/e").stat().st_mtime) == 1_700_000_000
    assert len(os.listdir("/proc/self/fd")) == before
