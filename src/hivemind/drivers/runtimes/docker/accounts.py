"""Whom a container runs as: names are looked up in the image when it is made, and not only when it starts."""

from __future__ import annotations

import os
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from hivemind.drivers.runtimes.docker.engine import Engine
from hivemind.drivers.runtimes.oci import users
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.errors import NotFound


async def find_user(engine: Engine, container: str, user: str) -> Account:
    """`name|uid[:group|gid]` in a container that was made. Raises `Invalid`."""
    if user in ("", "root"):
        return Account()
    with tempfile.TemporaryDirectory() as directory:
        for name in ("passwd", "group"):
            await _copy_out(engine, container, f"/etc/{name}", Path(directory) / "etc" / name)
        root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return users.find_account(root, user)
        finally:
            os.close(root)


async def _copy_out(engine: Engine, container: str, path: str, target: Path) -> None:
    """One file; nothing when there is none."""
    try:
        async with engine.stream("GET", f"/containers/{container}/archive", query={"path": path}) as response:
            data = await response.read()
    except NotFound:
        return
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        first = archive.next()
        if first is not None and first.isreg() and (content := archive.extractfile(first)):
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content.read())
