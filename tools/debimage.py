"""Builds small real container images from Debian or Ubuntu packages, without any registry.

    python tools/debimage.py web --output web.tar

Packages come from the machine's own apt sources and are unpacked in memory: no root is needed, nothing is
installed, no maintainer script runs. Archives are kept in `images` below `$HIVEMIND_CACHE` (or `.cache` in the
repository) under the hash of their recipe, so a second call costs a copy.
"""

from __future__ import annotations

import argparse
import fcntl
import fnmatch
import hashlib
import io
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ociarchive import Layer, write_archive

BUILDER = "1"
"""Raise it when the builder itself changes, so that kept archives are built anew."""

MERGED = ("bin", "sbin", "lib", "lib64")
"""Top-level directories that are links into /usr."""

UNUSED = (
    *(f"usr/share/{name}/*" for name in ("doc", "man", "locale", "info", "lintian", "zoneinfo")),
    "usr/share/bash-completion/*",
    "usr/lib/*/gconv/*",
    "usr/lib/systemd/*",
)

# fmt: off
ADMINISTRATION = (
    "perl*", "libperl*", "debconf*", "cdebconf*", "dpkg", "tar", "adduser", "passwd", "init-system-helpers",
    "sysvinit-utils", "lsb-base", "iproute2", "ucf", "sensible-utils", "locales", "libpam*", "gcc-*-base",
    "libsemanage*", "libdb5*", "libbpf*", "libelf*", "libmnl*", "libtirpc*", "libgssapi*", "libkrb5*",
    "libk5*", "krb5-*", "libxtables*", "libcap2-bin", "coreutils", "debianutils", "procps", "media-types",
    "mawk", "libmd0*",
)
# fmt: on
"""Packages that only installing needs."""

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
redis:x:100:100::/data:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = "root:x:0:\nadm:x:4:\nwww-data:x:33:\nredis:x:100:\nnogroup:x:65534:\n"

SERVE_WEB = """\
#!/bin/sh
# The first process of a container gets no signal that it has no handler for, so this shell waits for the
# server and leaves at once when it is told to; what it started ends with it.
trap 'exit 0' TERM INT
echo "<!doctype html><p>Hello from $(hostname), version ${VERSION:-1}</p>" > /www/index.html
echo "serving version ${VERSION:-1} on port ${PORT:-8080}"
httpd -f -v -p "${PORT:-8080}" -h /www &
wait $!
"""

NGINX_CONF = """\
user www-data;
worker_processes 1;
error_log stderr notice;
pid /run/nginx.pid;
events { worker_connections 512; }
http {
    include mime.types;
    access_log /dev/stdout;
    server {
        listen 80 default_server;
        root /var/www/html;
    }
}
"""

SERVE_POSTGRES = """\
#!/bin/sh
# As the usual image does it: an empty data directory becomes a new cluster, any other is served.
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth=trust --no-sync --locale=C --encoding=UTF8 > /dev/null
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/run/postgresql
"""

SYSTEM_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Recipe:
    """An image as data. Paths are relative to the root; `owned` gives directories to a numeric user."""

    packages: tuple[str, ...]
    config: dict[str, Any]
    applets: bool = False
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    owned: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = field(default=(), repr=False)
    """Of the packages that otherwise only installing needs."""

    @property
    def key(self) -> str:
        ingredients = (BUILDER, self, PASSWD, GROUP, UNUSED, ADMINISTRATION)
        return hashlib.sha256(repr(ingredients).encode()).hexdigest()[:16]


RECIPES = {
    "busybox": Recipe(
        packages=("busybox-static",),
        applets=True,
        config={"Cmd": ["/bin/sh"], "Env": [SYSTEM_PATH]},
    ),
    "web": Recipe(
        packages=("busybox-static",),
        applets=True,
        files={"usr/bin/serve-web": (0o755, SERVE_WEB), "www/index.html": (0o644, "not started\n")},
        config={
            "Entrypoint": ["/usr/bin/serve-web"],
            "Env": [SYSTEM_PATH, "VERSION=1"],
            "ExposedPorts": {"8080/tcp": {}},
            "StopSignal": "SIGTERM",
            "WorkingDir": "/www",
        },
    ),
    "nginx": Recipe(
        packages=("nginx", "busybox-static"),
        applets=True,
        files={
            "etc/nginx/nginx.conf": (0o644, NGINX_CONF),
            "var/www/html/index.html": (
                0o644,
                "<!doctype html><title>nginx</title><p>Hello from nginx</p>\n",
            ),
        },
        owned={"var/log/nginx": 33, "var/lib/nginx": 33},
        config={
            "Cmd": ["/usr/sbin/nginx", "-g", "daemon off;"],
            "Env": [SYSTEM_PATH],
            "ExposedPorts": {"80/tcp": {}},
            "StopSignal": "SIGQUIT",
        },
    ),
    "redis": Recipe(
        packages=("redis-server", "redis-tools", "busybox-static"),
        applets=True,
        owned={"data": 100},
        config={
            "Cmd": ["/usr/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no"],
            "Env": [SYSTEM_PATH],
            "User": "redis",
            "WorkingDir": "/data",
            "Volumes": {"/data": {}},
            "ExposedPorts": {"6379/tcp": {}},
        },
    ),
    "postgres": Recipe(
        packages=("postgresql-15", "postgresql-client-15", "busybox-static"),
        kept=("libpam0g", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0"),
        applets=True,
        files={
            "etc/passwd": (0o644, f"{PASSWD}postgres:x:101:101::/var/lib/postgresql:/bin/sh\n"),
            "etc/group": (0o644, f"{GROUP}postgres:x:101:\n"),
            "usr/bin/serve-postgres": (0o755, SERVE_POSTGRES),
        },
        owned={"run/postgresql": 101, "var/lib/postgresql": 101, "var/lib/postgresql/data": 101},
        config={
            "Entrypoint": ["/usr/bin/serve-postgres"],
            "Env": [
                "PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PGDATA=/var/lib/postgresql/data",
            ],
            "User": "postgres",
            "ExposedPorts": {"5432/tcp": {}},
            "StopSignal": "SIGINT",
        },
    ),
}


def build(name: str, cache: Path | None = None) -> Path:
    """The archive of a recipe's image, named `docker.io/library/<name>:1`; built only if it is not kept."""
    recipe = RECIPES[name]
    folder = cache or default_cache()
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}-{recipe.key}.tar"
    with _locked(folder / ".lock"):
        if not archive.exists():
            layer = _layer(recipe, _packages(folder, recipe.packages, recipe.kept))
            unfinished = archive.with_suffix(".unfinished")
            write_archive(unfinished, [layer], recipe.config, f"docker.io/library/{name}:1")
            unfinished.rename(archive)
    return archive


def program(package: str, path: str) -> Path:
    """A program out of a package that is only unpacked: installed, it might start a service."""
    folder = default_cache()
    (folder / "programs").mkdir(parents=True, exist_ok=True)
    unpacked = folder / "programs" / package
    with _locked(folder / ".lock"):
        if not unpacked.exists():
            found = _packages(folder, (package,))
            archive = next(file for file in found if file.name.startswith(f"{package}_"))
            unfinished = unpacked.with_suffix(".unfinished")
            _run(["dpkg-deb", "--extract", str(archive), str(unfinished)])
            unfinished.rename(unpacked)
    return unpacked / path


def default_cache() -> Path:
    own = os.environ.get("HIVEMIND_CACHE")
    return (Path(own) if own else Path(__file__).resolve().parent.parent / ".cache") / "images"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two builds at once wait for each other instead of fetching the same packages twice."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _packages(cache: Path, wanted: tuple[str, ...], kept: tuple[str, ...] = ()) -> list[Path]:
    """Fetches packages and all they depend on, as if nothing were installed; returns their files."""
    debs = cache / "debs"
    (debs / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "nothing-installed").touch()
    options = {
        "Dir::State::status": cache / "nothing-installed",
        "Dir::Cache::archives": f"{debs}/",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{key}={value}" for key, value in options.items())]
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        apt = _own_lists(apt, cache)
    try:
        plan = _run([*apt, "-s", "install", *wanted])
        _run([*apt, "--download-only", "install", *wanted])
    except subprocess.CalledProcessError:  # the machine's lists are old: what they name has left the mirror
        apt = _own_lists(apt, cache)
        plan = _run([*apt, "-s", "install", *wanted])
        _run([*apt, "--download-only", "install", *wanted])
    found = re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", plan, re.MULTILINE)
    return [
        debs / f"{package}_{version.replace(':', '%3a')}_{arch}.deb"
        for package, version, arch in sorted(found)
        if package in kept or not any(fnmatch.fnmatch(package, pattern) for pattern in ADMINISTRATION)
    ]


def _own_lists(apt: list[str], cache: Path) -> list[str]:
    """Lists of our own, so that the machine's stay as they are."""
    (cache / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    apt = [*apt, "-o", f"Dir::State::lists={cache}/lists/"]
    _run([*apt, "update"])
    return apt


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


def _layer(recipe: Recipe, packages: list[Path]) -> Layer:
    """The whole image as one layer: its packages, then the few files that a system needs to be one."""
    layer = Layer()
    for package in packages:
        _unpack(layer, package)
    for name in MERGED:
        layer.directory(f"usr/{name}")
        layer.symlink(name, f"usr/{name}")
    for name in ("etc", "proc", "sys", "dev", "run", "root", "var"):
        layer.directory(name, 0o700 if name == "root" else 0o755)
    for name in ("tmp", "var/tmp"):
        layer.directory(name, 0o1777)
    layer.file("etc/passwd", PASSWD)
    layer.file("etc/group", GROUP)
    if recipe.applets:
        _link_applets(layer)
    for path, (mode, text) in recipe.files.items():
        layer.file(path, text, mode)
    for path, target in recipe.links.items():
        layer.symlink(path, target)
    for path, owner in recipe.owned.items():
        layer.directory(path, 0o755, owner, owner)
    return layer


def _unpack(layer: Layer, package: Path) -> None:
    content = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for info in archive:
            info.name = _merged(info.name)
            if info.islnk():
                info.linkname = _merged(info.linkname)
            if info.name in ("", *MERGED) or any(fnmatch.fnmatch(info.name, unused) for unused in UNUSED):
                continue
            data = archive.extractfile(info) if info.isreg() else None
            layer.add(info, data.read() if data else b"")


def _merged(path: str) -> str:
    path = posixpath.normpath(path).lstrip("/")
    path = "" if path == "." else path
    return f"usr/{path}" if path.startswith(tuple(f"{name}/" for name in MERGED)) else path


def _link_applets(layer: Layer) -> None:
    """A link for every command that busybox can be, except those that a package brought."""
    _, program = layer.entries["usr/bin/busybox"]
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "busybox")
        binary.write_bytes(program)
        binary.chmod(0o755)
        applets = _run([str(binary), "--list"]).split()
    for applet in applets:
        if applet != "busybox" and not {f"usr/bin/{applet}", f"usr/sbin/{applet}"} & layer.entries.keys():
            layer.symlink(f"usr/bin/{applet}", "busybox")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument(
        "--output", type=Path, help="where to write the archive; without it, its path is printed"
    )
    chosen = parser.parse_args()
    archive = build(chosen.recipe)
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, chosen.output)
    print(chosen.output or archive)


if __name__ == "__main__":
    main()
