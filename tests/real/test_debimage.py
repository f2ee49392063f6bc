"""The images that the demo and the tests run: built from packages, run by a real runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import debimage
import pytest

from hivemind.drivers.images.archive import load
from hivemind.drivers.images.store import ImageStore

pytestmark = pytest.mark.real


@contextmanager
def container(tmp_path: Path, recipe: str, *env: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The image's own command in namespaces of its own, on a copy of its layer."""
    store = ImageStore(tmp_path / "images")
    store.open()
    (image,) = load(store, debimage.build(recipe))
    bundle = tmp_path / "bundle"
    (layer,) = store.layers(image.digest)
    bundle.mkdir()
    subprocess.run(["cp", "-a", str(layer), str(bundle / "rootfs")], check=True)
    user = 100 if image.config.user == "redis" else 0
    namespaces = [{"type": kind} for kind in ("pid", "network", "mount", "ipc", "uts")]
    capabilities = ["CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_DAC_OVERRIDE"]
    spec = {
        "ociVersion": "1.0.2",
        "hostname": "box",
        "process": {
            "args": [*image.config.entrypoint, *image.config.command],
            "env": [*image.config.env, *env],
            "cwd": image.config.workdir,
            "user": {"uid": user, "gid": user},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        ],
        "linux": {"namespaces": namespaces},
    }
    (bundle / "config.json").write_text(json.dumps(spec))
    name = f"debimage-{uuid.uuid4().hex[:8]}"
    process = subprocess.Popen(
        ["runc", "--root", str(tmp_path / "runc"), "run", "--bundle", str(bundle), name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield name, process
    finally:
        subprocess.run(
            ["runc", "--root", str(tmp_path / "runc"), "delete", "--force", name], capture_output=True
        )
        process.kill()
        process.wait()


def inside(tmp_path: Path, name: str, *command: str) -> str:
    """Output of a command in the container, asked again until the server is up."""
    runc = ["runc", "--root", str(tmp_path / "runc"), "exec", name, *command]
    deadline = time.monotonic() + 20
    while (done := subprocess.run(runc, capture_output=True, text=True)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)  # no event tells that a port in another namespace listens
    return done.stdout


def get(tmp_path: Path, name: str, port: int) -> str:
    request = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc 127.0.0.1 {port} | grep Hello"
    return inside(tmp_path, name, "/bin/sh", "-c", request)


def end(tmp_path: Path, name: str, process: subprocess.Popen[bytes], how: str) -> int:
    subprocess.run(["runc", "--root", str(tmp_path / "runc"), "kill", name, how], check=True)
    return process.wait(10)


def test_web_says_who_it_is_and_ends_at_once(tmp_path: Path) -> None:
    with container(tmp_path, "web", "PORT=9000", "VERSION=7") as (name, process):
        assert "Hello from box, version 7" in get(tmp_path, name, 9000)
        assert end(tmp_path, name, process, "TERM") == 0


def test_nginx_serves_without_ipv6(tmp_path: Path) -> None:
    with container(tmp_path, "nginx") as (name, process):
        assert "Hello from nginx" in get(tmp_path, name, 80)
        assert end(tmp_path, name, process, "QUIT") == 0


def test_redis_answers_as_its_own_user(tmp_path: Path) -> None:
    with container(tmp_path, "redis") as (name, process):
        assert inside(tmp_path, name, "/bin/sh", "-c", "id -un").strip() == "redis"
        assert inside(tmp_path, name, "redis-cli", "ping").strip() == "PONG"
        assert inside(tmp_path, name, "redis-cli", "save").strip() == "OK"
        assert end(tmp_path, name, process, "TERM") == 0


@pytest.mark.parametrize("recipe", sorted(debimage.RECIPES))
def test_the_same_bytes_every_time(tmp_path: Path, recipe: str) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    kept = debimage.build(recipe)
    fetched = debimage.default_cache() / "debs"
    if fetched.exists():  # else they are fetched again
        shutil.copytree(fetched, cache / "debs")
    assert debimage.build(recipe, cache).read_bytes() == kept.read_bytes()
