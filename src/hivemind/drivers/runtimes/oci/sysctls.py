"""Kernel parameters of a container's namespaces.

A network namespace is the node's, handed in, so a container in a user namespace has no right to set its parameters:
all of `net.` is set here, before anything runs in it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import Invalid, Unavailable

_CLONE_NEWNET = 0x40000000
_ORDINARY = {
    # Ordinary users inside may listen on port 80 and use ping: the network is nobody else's.
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


def of_network(wanted: Mapping[str, str]) -> dict[str, str]:
    """What a network namespace of its own gets."""
    return _ORDINARY | {name: value for name, value in wanted.items() if name.startswith("net.")}


def of_container(wanted: Mapping[str, str]) -> dict[str, str]:
    """What the OCI runtime sets, in the namespaces that it makes."""
    return {name: value for name, value in wanted.items() if not name.startswith("net.")}


def inside(network: int, action: Callable[[], None]) -> None:
    """Does something in a network namespace, on a thread that ends with it and so need not find its way back."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            kernel.setns(network, _CLONE_NEWNET)
            action()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def write(parameters: Mapping[str, str]) -> None:
    """Sets `net.` parameters of the calling thread's network namespace. Raises `Invalid`."""
    for name, value in parameters.items():
        path = Path("/proc/sys", *name.split("."))
        try:
            if path.read_text().split() != value.split():
                path.write_text(value)  # opened anew: the kernel heeds only what is written at the beginning
        except (FileNotFoundError, PermissionError) as error:
            if name in _ORDINARY:
                continue  # a kernel without it has nothing to restrict
            raise Invalid(
                f"a network of its own has no parameter {name}", hint="sysctl -a shows those of the node"
            ) from error
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ERANGE):
                raise Invalid(f"the kernel does not take {value!r} for {name}") from error
            raise Unavailable(f"{name} cannot be set: {error.strerror}") from error
