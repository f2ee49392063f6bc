"""What a container takes from the host's own namespace: a network namespace and directories to mount.

Where the host does not share its mount tree, mounts that it made after the runtime's namespace (the pins of
network namespaces, loop-mounted volumes) are not visible in there. So both are opened here, on the host's side,
and handed over as descriptors for as long as the container is being created.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.oci.treecopy import copy_tree
from hivemind.errors import Invalid


class Borrowed:
    """Opened by its constructor, which may block; a context manager that closes. Raises `Invalid`."""

    def __init__(self, spec: ContainerSpec) -> None:
        self.network = -1
        """A descriptor of its network namespace; -1: it is in the host's."""
        self.netns = ""
        """The same as the OCI runtime may open it."""
        self.trees: dict[str, int] = {}
        """Copies of the mounts at each source, by target."""
        self.to_map: list[str] = []
        """Targets of those that are to be seen through the container's own id map, if it has one."""
        self._fds: list[int] = []
        try:
            if spec.netns:
                self.network = self._netns(spec.netns)
                self.netns = f"/proc/{os.getpid()}/fd/{self.network}"
            for mount in spec.mounts:
                if not mount.target.startswith("/"):
                    raise Invalid(f"mount target {mount.target!r} is not absolute", hint="begin it with /")
                if mount.source:
                    self.trees[mount.target] = self._tree(mount.source)
                    if mount.idmap:
                        self.to_map.append(mount.target)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Borrowed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _netns(self, path: str) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Invalid(f"the network namespace {path} cannot be opened: {error.strerror}") from error
        self._fds.append(fd)
        return fd

    def _tree(self, source: str) -> int:
        try:
            fd = copy_tree(source)
        except OSError as error:
            raise Invalid(
                f"{source} cannot be mounted: {error.strerror}", hint="create it first, on this node"
            ) from error
        self._fds.append(fd)
        return fd


def network_bytes(pid: int) -> tuple[int, int]:
    """Received and sent by the process's network namespace since it was made, without loopback."""
    received = sent = 0
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]:
        name, _, counters = line.partition(":")
        if name.strip() != "lo":
            fields = counters.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent
