"""From how a template is kept apart, and how its app is on the network, to what a runtime is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivemind.drivers.network.contract import Attachment
from hivemind.drivers.runtimes import contract
from hivemind.errors import Unsupported
from hivemind.model.isolation import Isolation
from hivemind.model.network import NetworkOptions

_OPTIONS = ("ndots:1", "timeout:2", "attempts:2")
_GATEWAY = "host-gateway"


def isolation(isolation: Isolation, granted: tuple[contract.Device, ...] = ()) -> dict[str, Any]:
    """Fields of a `ContainerSpec`. `granted`: devices that it gets beside those it names."""
    named = (
        contract.Device(host=device.host, container=device.container or device.host, access=device.access)
        for device in isolation.devices
    )
    return {
        "read_only": isolation.read_only,
        "init": isolation.init,
        "privileged": isolation.privileged,
        "cap_add": isolation.cap_add,
        "cap_drop": isolation.cap_drop,
        "seccomp": isolation.seccomp,
        "apparmor": isolation.apparmor,
        "no_new_privileges": isolation.no_new_privileges,
        "users": isolation.users,
        "shm_size": isolation.shm_size,
        "devices": (*named, *granted),
        "ulimits": {
            name: contract.Ulimit(soft=limit.soft, hard=limit.hard)
            for name, limit in isolation.ulimits.items()
        },
        "sysctls": isolation.sysctls,
    }


def network(
    options: NetworkOptions, attachment: Attachment, *, name: str, node_name: str, search: str
) -> dict[str, Any]:
    """Fields of a `ContainerSpec`. `name`: what the container is called, `search`: where its project's names are.

    Raises `Unsupported` when the node's address is to be written and this network has none."""
    own = options.hostname or (name if attachment.apart else "")
    if not own and options.mode == "host" and attachment.nameserver:
        own = node_name
    return {
        "netns": attachment.netns,
        "network": attachment.network,
        "ip": attachment.ip if attachment.network else "",
        "hostname": own,
        "resolv_conf": resolv_conf(options, attachment, search),
        "hosts": hosts(options, attachment, own),
    }


def resolv_conf(options: NetworkOptions, attachment: Attachment, search: str) -> str:
    """Empty: the runtime's own way. With name servers of its own it knows no apps, so that nothing is searched."""
    servers = options.dns or ((attachment.nameserver,) if attachment.nameserver else ())
    if not servers:
        return ""
    searched = options.dns_search or (() if options.dns else (search,))
    settings = options.dns_options or _OPTIONS
    lines = [
        *([f"search {' '.join(searched)}"] if searched else []),
        *(f"nameserver {server}" for server in servers),
        f"options {' '.join(settings)}",
    ]
    return "".join(f"{line}\n" for line in lines)


def hosts(options: NetworkOptions, attachment: Attachment, name: str) -> str:
    """Empty: the runtime's own way."""
    if not (attachment.apart or attachment.nameserver or options.extra_hosts):
        return ""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    if name:
        lines.append(f"{attachment.ip or '127.0.0.1'}\t{name}")
    lines += (f"{address}\t{other}" for other, address in _addresses(options.extra_hosts, attachment).items())
    return "".join(f"{line}\n" for line in lines)


def _addresses(extra: Mapping[str, str], attachment: Attachment) -> dict[str, str]:
    if _GATEWAY in extra.values() and not attachment.nameserver:
        raise Unsupported(
            "the node has no address in this app's network",
            hint=f"write its address instead of {_GATEWAY}",
        )
    return {
        name: attachment.nameserver if address == _GATEWAY else address for name, address in extra.items()
    }
