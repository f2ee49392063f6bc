"""No layer, however made, touches anything outside its directory or ends in anything but success or a clear error."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.drivers.images.limits import Limits
from hivemind.drivers.images.unpack import unpack
from hivemind.errors import Invalid, TooLarge

NAMES = st.sampled_from(
    ["a", "b", "..", ".", "", "/", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh...", "outside", "victim"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)


@st.composite
def layers(draw: st.DrawFn, outside: str = "@") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, kind, link, absolute in draw(
            st.lists(st.tuples(PATHS, KINDS, PATHS, st.booleans()), min_size=1, max_size=12)
        ):
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.devmajor, info.devminor = kind, 0o755, 1, 3
            info.linkname = f"{outside}/{link}" if absolute else link
            data = b"evil" if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def picture(root: Path) -> list[tuple[str, int, int, int, str]]:
    """Everything that a hostile layer could have changed."""
    seen = []
    for folder, folders, files in os.walk(root):
        for name in [".", *folders, *files]:
            path = Path(folder, name)
            status = path.lstat()
            text = path.read_text() if path.is_file() and not path.is_symlink() else ""
            seen.append((str(path), status.st_mode, status.st_nlink, status.st_mtime_ns, text))
    return sorted(seen)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_nothing_outside_is_touched(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as base:
        outside, target = Path(base, "outside"), Path(base, "deep", "layer")
        for folder in (outside / "a" / "b", target):
            folder.mkdir(parents=True)
        for name in ("victim", "a/victim", "a/b/victim"):
            (outside / name).write_text("precious")
        (target.parent / "victim").write_text("precious")
        before = picture(outside), os.listdir(base), sorted(os.listdir(target.parent))
        descriptors = len(os.listdir("/proc/self/fd"))
        try:
            unpack(io.BytesIO(data.draw(layers(str(outside)))), target, Limits(bytes=2**20, entries=100))
        except (Invalid, TooLarge) as refusal:
            assert refusal.message
        assert (picture(outside), os.listdir(base), sorted(os.listdir(target.parent))) == before
        assert (target.parent / "victim").stat().st_nlink == 1
        assert len(os.listdir("/proc/self/fd")) == descriptors


@settings(max_examples=200, deadline=None)
@given(
    tar=layers(),
    flips=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=8),
    cut=st.integers(),
)
def test_damage_is_refused_or_harmless(tar: bytes, flips: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(tar)
    for position, value in flips:
        damaged[position % len(damaged)] = value
    with tempfile.TemporaryDirectory() as base:
        target = Path(base, "layer")
        target.mkdir()
        try:
            unpack(
                io.BytesIO(bytes(damaged[: cut % len(damaged) + 1])), target, Limits(bytes=2**20, entries=100)
            )
        except (Invalid, TooLarge) as refusal:
            assert refusal.message
        assert os.listdir(base) == ["layer"]
