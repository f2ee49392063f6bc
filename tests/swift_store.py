"""A real S3 server for tests: OpenStack Swift from Debian, with its S3 face, of one disk and one copy.

    with swift_store(directory) as store:
        store.endpoint, store.access_key, store.secret_key

Swift reads `/etc/swift/swift.conf` and nothing else, so its servers run in a mount namespace in which that directory is
ours. They die with the test, also when that is killed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_KINDS = ("account", "container", "object")
_COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = root
workers = 0
devices = {devices}
mount_check = false
disable_fallocate = true
swift_dir = /etc/swift
log_level = ERROR
log_address = /dev/null
"""
_STORAGE = """[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_hive_keeper = wide-awake .admin
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
"""
_MOUNTED = "mount --bind {etc} /etc/swift && {command}"
_PLAIN = ("catch_errors", "gatekeeper", "listing_formats", "bulk", "slo")


class Store(NamedTuple):
    endpoint: str
    access_key: str
    secret_key: str
    ca: Path


@contextlib.contextmanager
def swift_store(directory: Path) -> Iterator[Store]:
    etc, devices = directory / "etc", directory / "devices"
    etc.mkdir(parents=True)
    (devices / "d1").mkdir(parents=True)
    ports = dict(zip((*_KINDS, "proxy"), _free_ports(4), strict=True))
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = hive\n[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    _rings(etc, ports)
    certificate = _certificate(directory)
    for kind in _KINDS:
        text = _COMMON.format(port=ports[kind], devices=devices) + _STORAGE.format(kind=kind)
        (etc / f"{kind}-server.conf").write_text(text)
    filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in _PLAIN)
    tls = f"cert_file = {certificate}\nkey_file = {directory / 'key.pem'}\n"
    common = _COMMON.format(port=ports["proxy"], devices=devices)
    (etc / "proxy-server.conf").write_text(common + tls + _PROXY + filters)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((directory / "log").open("wb"))
        for kind in (*_KINDS, "proxy"):
            command = f"exec swift-{kind}-server /etc/swift/{kind}-server.conf"
            script = _MOUNTED.format(etc=etc, command=command)
            server = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )  # fmt: skip
            stack.callback(server.wait)
            stack.callback(server.kill)
        for port in ports.values():
            _wait(port, directory / "log")
        yield Store(f"https://127.0.0.1:{ports['proxy']}", "hive:keeper", "wide-awake", certificate)


_RINGS = """
import sys
from swift.common.ring import RingBuilder
for kind, port in zip(("account", "container", "object"), sys.argv[2:]):
    builder = RingBuilder(4, 1, 0)
    place = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1"}
    builder.add_dev({"id": 0, "weight": 1.0, **place})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{kind}.ring.gz")
"""


def _rings(etc: Path, ports: dict[str, int]) -> None:
    """By the system's own Python, which has Swift."""
    words = [_MOUNTED.format(etc=etc, command='exec /usr/bin/python3 -c "$1" "$2" "$3" "$4" "$5"')]
    numbers = [str(ports[kind]) for kind in _KINDS]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", *words, "sh", _RINGS, str(etc), *numbers],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def _certificate(directory: Path) -> Path:
    """Clients send whole pieces over TLS only. Over plain HTTP they sign chunk by chunk, which this Swift cannot
    read."""
    path = directory / "cert.pem"
    key = (
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        directory / "key.pem",
    )
    name = ("-subj", "/CN=swift", "-addext", "subjectAltName=IP:127.0.0.1")
    words = ["openssl", "req", "-x509", "-days", "2", *key, *name, "-out", path]
    subprocess.run(words, check=True, capture_output=True)
    return path


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _wait(port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, f"Swift does not answer: {log.read_text()[-2000:]}"
        time.sleep(0.05)


if __name__ == "__main__":
    import sys

    with swift_store(Path(sys.argv[1])) as found:
        print(found, os.getpid())
        sys.stdin.read()
