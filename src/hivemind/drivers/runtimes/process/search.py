"""Where a command may be found. Standard library only: the shim looks where the daemon looked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def candidates(name: str, env: Mapping[str, str], workdir: str = "") -> Iterator[str]:
    """Executable files of that name in the order of PATH; of a name with a slash, itself."""
    if "/" in name:
        yield os.path.join(workdir, name)
        return
    for directory in env.get("PATH", DEFAULT_PATH).split(":"):
        path = os.path.join(workdir, directory or ".", name)
        if _executable(path):
            yield path


def is_found(name: str, env: Mapping[str, str], workdir: str) -> bool:
    """Whether there is such an executable, seen from `workdir`."""
    found = next(candidates(name, env, workdir), "")
    return bool(found) and ("/" not in name or _executable(found))


def _executable(path: str) -> bool:
    return os.access(path, os.X_OK) and not os.path.isdir(path)
