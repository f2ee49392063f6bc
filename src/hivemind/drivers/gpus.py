"""Devices that compute: which of them this machine has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

_NVIDIA_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")


class Gpu(msgspec.Struct, frozen=True):
    """`paths`: its own device first, then those that all of its kind share."""

    name: str
    paths: tuple[str, ...]


def detect(dev: Path = Path("/dev")) -> tuple[Gpu, ...]:
    """NVIDIA's by their numbers, then AMD's: a render node counts where there is the compute driver's kfd."""
    return (*_nvidia(dev), *_amd(dev))


def _nvidia(dev: Path) -> Iterator[Gpu]:
    shared = [str(dev / name) for name in _NVIDIA_SHARED if (dev / name).exists()]
    for path in _numbered(dev, r"nvidia(\d+)"):
        yield Gpu(path.name, (str(path), *shared))


def _amd(dev: Path) -> Iterator[Gpu]:
    if (dev / "kfd").exists():
        for path in _numbered(dev / "dri", r"renderD(\d+)"):
            yield Gpu(path.name, (str(path), str(dev / "kfd")))


def _numbered(directory: Path, form: str) -> list[Path]:
    found = [
        (int(match[1]), path)
        for path in (directory.iterdir() if directory.is_dir() else ())
        if (match := re.fullmatch(form, path.name))
    ]
    return [path for _, path in sorted(found)]
