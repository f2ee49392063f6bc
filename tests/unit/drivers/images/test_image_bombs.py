"""Layers that are made to fill a disk: small on the wire, huge or countless when unpacked."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from hivemind.drivers.images.blobs import Blobs, NoRoom
from hivemind.drivers.images.layers import Layers
from hivemind.drivers.images.limits import LIMITS, Limits
from hivemind.errors import HivemindError, Invalid, TooLarge

MIB = 2**20
ANY = "sha256:" + "0" * 64


def layers(tmp_path: Path, limits: Limits) -> Layers:
    blobs = Blobs(tmp_path)
    blobs.open()
    made = Layers(tmp_path, blobs, limits)
    made.open()
    return made


def tar(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def refused(made: Layers, blob: bytes, kind: type[HivemindError] = TooLarge) -> None:
    digest = made.blobs.put(blob)
    with pytest.raises(kind):
        made.ensure(digest, ANY)
    assert list(made.blobs.incoming.iterdir()) == [] and made.diff_ids() == []


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_bomb_is_known_by_its_ratio(tmp_path: Path, compress: object) -> None:
    made = layers(tmp_path, Limits(ratio=100, ratio_from=MIB))
    refused(made, compress(tar(("zeros", bytes(8 * MIB)))))  # type: ignore[operator]


def test_so_is_one_that_hides_behind_the_end_of_the_archive(tmp_path: Path) -> None:
    made = layers(tmp_path, Limits(ratio=100, ratio_from=MIB))
    refused(made, gzip.compress(tar(("a", b"a")) + bytes(8 * MIB)))


def test_zeros_as_such_are_no_crime(tmp_path: Path) -> None:
    made = layers(tmp_path, LIMITS)
    plain = tar(("zeros", bytes(8 * MIB)))
    digest = made.blobs.put(gzip.compress(plain))
    made.ensure(digest, made.blobs.put(plain))  # a layer's own id is the digest of its plain tar
    assert made.usage() >= 8 * MIB


def test_more_bytes_or_more_files_than_are_allowed(tmp_path: Path) -> None:
    refused(layers(tmp_path, Limits(bytes=MIB)), tar(("big", bytes(2 * MIB))))
    refused(
        layers(tmp_path, Limits(entries=1000)), gzip.compress(tar(*((f"f{n}", b"") for n in range(1001))))
    )
    assert LIMITS.entries <= 1_000_000


def test_a_disk_that_gets_low_ends_the_unpacking(tmp_path: Path) -> None:
    made = layers(tmp_path, LIMITS)
    blob = tar(("big", bytes(8 * MIB)))
    digest = made.blobs.put(blob)
    left = 4 * MIB

    def check(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise NoRoom("the disk is nearly full")

    made.blobs.check_room = check
    with pytest.raises(NoRoom):
        made.ensure(digest, ANY)
    assert list(made.blobs.incoming.iterdir()) == []


def test_a_window_that_would_fill_the_memory(tmp_path: Path) -> None:
    huge = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
    frame = zstandard.ZstdCompressor(compression_params=huge)
    out = io.BytesIO()
    with frame.stream_writer(out, closefd=False) as writer:
        writer.write(tar(("a", b"a")))
    refused(layers(tmp_path, LIMITS), out.getvalue(), Invalid)


def test_cut_and_torn_zstd_is_told_as_damage(tmp_path: Path) -> None:
    whole = zstandard.compress(tar(("a", b"a" * 5000)))
    refused(layers(tmp_path, LIMITS), whole[:20] + b"torn" + whole[30:], Invalid)
