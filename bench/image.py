"""The image that every peer runs: busybox, in the forms that each of them reads."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

from bench.home import CLONE

NAME = "docker.io/library/busybox:1"
COMMAND = ("sleep", "100000")


def oci() -> Path:
    """An OCI archive."""
    made = subprocess.run(
        [sys.executable, CLONE / "tools/debimage.py", "busybox"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Path(made.stdout.strip())


def docker(path: Path) -> Path:
    """The same as `docker save` would have written it, at `path`."""
    from ociarchive import write_archive

    layer, config = _content()
    write_archive(path, [layer], config, NAME, "docker")
    return path


def unpack(directory: Path) -> Path:
    """Its files as a directory."""
    layer, _ = _content()
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        tar.extractall(directory, filter="tar")
    return directory


def _content() -> tuple[bytes, dict[str, object]]:
    """Its only layer as a plain tar, and its configuration."""
    with tarfile.open(oci()) as archive:

        def blob(digest: str) -> bytes:
            member = archive.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert member is not None
            return member.read()

        index = archive.extractfile("index.json")
        assert index is not None
        manifest = json.loads(blob(json.load(index)["manifests"][0]["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))["config"]
        packed = blob(manifest["layers"][0]["digest"])
    import gzip

    return gzip.decompress(packed), config
