"""Writes small container images as archives, byte for byte the same every time.

A `Layer` is a list of files in memory; `write_archive` puts layers and a configuration into the form that
`docker save` writes or into an OCI image layout in a tar. Only the standard library is needed, and no root.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

EPOCH = 1_700_000_000
"""The modification time of everything, so that the same recipe gives the same digest."""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def architecture() -> str:
    """This machine's architecture as images name it."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


class Layer:
    """Files of one layer. Paths are relative to the root; parents are added as plain directories."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def add(self, info: tarfile.TarInfo, data: bytes = b"") -> None:
        """Any entry, as hostile as its name; one of the same name is replaced."""
        info.mtime, info.uname, info.gname = EPOCH, "", ""
        info.size = len(data)
        self.entries[info.name] = (info, data)

    def _entry(
        self, path: str, kind: bytes, mode: int, uid: int, gid: int, link: str = ""
    ) -> tarfile.TarInfo:
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.directory(parent)
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.uid, info.gid, info.linkname = kind, mode, uid, gid, link
        return info

    def directory(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        self.add(self._entry(path, tarfile.DIRTYPE, mode, uid, gid))

    def file(self, path: str, data: bytes | str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        content = data.encode() if isinstance(data, str) else data
        self.add(self._entry(path, tarfile.REGTYPE, mode, uid, gid), content)

    def symlink(self, path: str, target: str) -> None:
        self.add(self._entry(path, tarfile.SYMTYPE, 0o777, 0, 0, target))

    def hardlink(self, path: str, target: str) -> None:
        self.add(self._entry(path, tarfile.LNKTYPE, 0o644, 0, 0, target))

    def whiteout(self, path: str) -> None:
        """Hides what lower layers have at `path`."""
        parent, name = os.path.split(path)
        self.file(os.path.join(parent, f".wh.{name}"), b"")

    def opaque(self, path: str) -> None:
        """Hides everything that lower layers have below the directory `path`."""
        self.file(f"{path}/.wh..wh..opq", b"")

    def tar(self) -> bytes:
        """Sorted by name, but hard links last: their targets must come first."""
        order = sorted(self.entries.values(), key=lambda entry: (entry[0].islnk(), entry[0].name))
        return _tar(order)


def layer_from(root: Path) -> Layer:
    """The tree below `root` as a layer, with its owners and modes."""
    layer = Layer()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(folders + files):
            path = Path(folder, name)
            status = path.lstat()
            where, mode = str(path.relative_to(root)), stat.S_IMODE(status.st_mode)
            if path.is_symlink():
                layer.symlink(where, os.readlink(path))
            elif path.is_dir():
                layer.directory(where, mode, status.st_uid, status.st_gid)
            else:
                layer.file(where, path.read_bytes(), mode, status.st_uid, status.st_gid)
    return layer


def write_archive(
    path: Path,
    layers: Sequence[Layer | Path | bytes],
    config: Mapping[str, Any],
    name: str,
    format: Literal["oci", "docker"] = "oci",
    *,
    compress: bool = True,
    arch: str = "",
) -> str:
    """Writes an image to `path`; returns the digest of its manifest ("" for docker's form, which has none).

    `layers`, lowest first, are `Layer`s, directories or ready tars; `config` is what OCI calls `config`
    (`Cmd`, `Env`, …); `name` is a full reference such as `docker.io/library/web:1`."""
    tars = [_layer_tar(layer) for layer in layers]
    image = {
        "architecture": arch or architecture(),
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_hash(tar)}" for tar in tars]},
        "history": [{"created_by": "ociarchive"} for _ in tars],
    }
    members, digest = _oci(tars, image, name, compress) if format == "oci" else _docker(tars, image, name)
    path.write_bytes(_tar((_plain(member), data) for member, data in members))
    return digest


def _layer_tar(layer: Layer | Path | bytes) -> bytes:
    if isinstance(layer, Path):
        layer = layer_from(layer)
    return layer.tar() if isinstance(layer, Layer) else layer


def _oci(tars: list[bytes], image: object, name: str, compress: bool) -> tuple[list[tuple[str, bytes]], str]:
    blobs: dict[str, bytes] = {}

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        blobs[f"blobs/sha256/{_hash(data)}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{_hash(data)}", "size": len(data)}

    layers = [
        put(gzip.compress(tar, 6, mtime=0), f"{OCI_LAYER}+gzip") if compress else put(tar, OCI_LAYER)
        for tar in tars
    ]
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": put(_json(image), OCI_CONFIG),
        "layers": layers,
    }
    manifest = put(_json(body), OCI_MANIFEST)
    named = manifest | {
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        }
    }
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named]}
    head = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", _json(index))]
    return head + sorted(blobs.items()), str(manifest["digest"])


def _docker(tars: list[bytes], image: object, name: str) -> tuple[list[tuple[str, bytes]], str]:
    config = _json(image)
    layers = {f"{_hash(tar)}/layer.tar": tar for tar in tars}
    short = name.removeprefix("docker.io/library/")
    manifest = [
        {
            "Config": f"{_hash(config)}.json",
            "RepoTags": [short],
            "Layers": [f"{_hash(tar)}/layer.tar" for tar in tars],
        }
    ]
    return [*layers.items(), (f"{_hash(config)}.json", config), ("manifest.json", _json(manifest))], ""


def _plain(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mtime = EPOCH
    return info


def _tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
