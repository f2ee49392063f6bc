"""An image of 100 MB and more pulled from a registry on loopback and unpacked: Hivemind, containerd, skopeo and tar.

The contestants take turns, each begins with nothing and ends with layers that overlay could stack. containerd is asked
by its own `ctr`. skopeo only fetches; tar, with gzip in a process of its own, then unpacks: the least that anyone must,
with neither whiteouts, nor what is durable, nor any suspicion.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import debimage

from bench.enclosure import Daemon, Enclosure
from bench.home import CLONE, home
from bench.peers import programs
from bench.row import Row, median, told

NOTE = """\
Hivemind fetches three blobs at a time and then unpacks in Python, every path resolved by hand; one layer that holds
everything, as here, is the worst case. `ctr` unpacks with Go's gzip, or with unpigz where the machine has that.
"""

ROUNDS = 3
_IMAGE = "postgres"
_ADDRESS = "127.0.0.1:5000"
_NAME = f"{_ADDRESS}/bench/{_IMAGE}:1"
_CONTAINERD = """\
version = 2
root = "{home}/containerd"
state = "/run/containerd-bench"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd-bench.sock"
"""
_PULL = """
import sys, threading, time
from pathlib import Path
from hivemind.drivers.images.access import anonymous
from hivemind.drivers.images.registry import pull
from hivemind.drivers.images.store import ImageStore
store = ImageStore(Path(sys.argv[1]))
store.open()
begin = time.perf_counter()
image = pull(store, sys.argv[2], anonymous, lambda progress: None, threading.Event())
print(time.perf_counter() - begin, image.size)
"""


def run() -> list[Row]:
    with home() as place, Enclosure() as enclosure:
        return measure(place, enclosure)


def measure(place: Path, enclosure: Enclosure) -> list[Row]:
    _registry(place, enclosure)
    _push(enclosure)
    containerd = _Containerd(place, enclosure)
    ours, ctr, floor, size = [], [], [], 0.0
    for _ in range(ROUNDS):
        seconds, size = _hivemind(place, enclosure)
        ours.append(seconds)
        ctr.append(containerd.pull())
        floor.append(_skopeo_and_tar(place, enclosure))
    mine = median(ours)
    peers = (
        (f"containerd: {median(ctr):.3g} s", ctr, True),
        (f"bare skopeo and tar: {median(floor):.3g} s", floor, False),
    )
    name = f"pull and unpack {size / 1e6:.0f} MB"
    return [
        told(
            name,
            mine,
            "s",
            peer,
            median([b / a if better else a / b for a, b in zip(ours, theirs, strict=True)]),
        )
        for peer, theirs, better in peers
    ]


def _registry(place: Path, enclosure: Enclosure) -> Daemon:
    config = place / "registry.json"
    storage = {"filesystem": {"rootdirectory": str(place / "registry")}}
    config.write_text(json.dumps({"version": "0.1", "storage": storage, "http": {"addr": _ADDRESS}}))
    binary = str(debimage.program("docker-registry", "usr/bin/docker-registry"))
    log = place / "registry.log"
    daemon = enclosure.start(
        binary, "serve", str(config), env={**os.environ, "OTEL_TRACES_EXPORTER": "none"}, log=log
    )
    daemon.until(lambda: "listening on" in log.read_text())
    return daemon


def _push(enclosure: Enclosure) -> None:
    archive = debimage.build(_IMAGE)
    enclosure.run(
        "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false",
        f"oci-archive:{archive}", f"docker://{_NAME}",
    )  # fmt: skip


def _hivemind(place: Path, enclosure: Enclosure) -> tuple[float, float]:
    """Seconds, and the bytes that came over."""
    target = place / "hivemind"
    env = {**os.environ, "PYTHONPATH": str(CLONE / "src")}
    said = enclosure.run(sys.executable, "-c", _PULL, str(target), _NAME, env=env)
    shutil.rmtree(target)
    seconds, size = said.split()
    return float(seconds), float(size)


class _Containerd:
    def __init__(self, place: Path, enclosure: Enclosure) -> None:
        self._enclosure = enclosure
        config = place / "containerd.toml"
        config.write_text(_CONTAINERD.format(home=place))
        tree = programs()
        self._env = {**os.environ, "PATH": f"{tree}/usr/sbin:{tree}/usr/bin:{os.environ['PATH']}"}
        engine = enclosure.start(
            "containerd", "-c", str(config), "-l", "error", env=self._env, log=place / "containerd.log"
        )
        engine.until(enclosure.path("/run/containerd-bench.sock").exists)

    def pull(self) -> float:
        begin = time.perf_counter()
        self._ctr("images", "pull", "--plain-http", _NAME)
        seconds = time.perf_counter() - begin
        self._ctr("images", "rm", "--sync", _NAME)
        return seconds

    def _ctr(self, *words: str) -> None:
        self._enclosure.run("ctr", "-a", "/run/containerd-bench.sock", *words, env=self._env)


def _skopeo_and_tar(place: Path, enclosure: Enclosure) -> float:
    fetched, unpacked = place / "fetched", place / "unpacked"
    begin = time.perf_counter()
    enclosure.run(
        "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{_NAME}", f"dir:{fetched}"
    )
    manifest = json.loads((fetched / "manifest.json").read_text())
    for number, layer in enumerate(manifest["layers"]):
        (unpacked / str(number)).mkdir(parents=True)
        blob = fetched / layer["digest"].removeprefix("sha256:")
        subprocess.run(["tar", "-xzf", str(blob), "-C", str(unpacked / str(number))], check=True)
    seconds = time.perf_counter() - begin
    shutil.rmtree(fetched)
    shutil.rmtree(unpacked)
    return seconds
