"""From a template and its app's network to what a runtime is told."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.agent.work import isolation
from hivemind.drivers.network.contract import Attachment
from hivemind.drivers.runtimes import contract
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.errors import Unsupported
from hivemind.model.isolation import Device, Isolation, Ulimit
from hivemind.model.network import NetworkOptions

OWN = Attachment(allocation="a", ip="10.200.0.7", netns="/run/a", nameserver="10.200.0.1")
DIRECT = Attachment(allocation="a", ip="10.200.0.1", nameserver="10.200.0.1")
NONE = Attachment(allocation="a", ip="", netns="/run/a")
SHARED = Attachment(allocation="a", ip="127.0.0.1")


def network(attachment: Attachment, **options: Any) -> dict[str, Any]:
    return isolation.network(
        NetworkOptions(**options), attachment, name="web-0", node_name="n1", search="shop.hive"
    )


def test_every_field_reaches_the_runtime() -> None:
    asked = Isolation(
        privileged=True, cap_add=("NET_ADMIN",), cap_drop=("ALL",), seccomp="unconfined", apparmor="p",
        no_new_privileges=False, read_only=True, init=True, users="host", shm_size=7,
        devices=(Device(host="/dev/a"), Device(host="/dev/b", container="/dev/c", access="r")),
        ulimits={"nofile": Ulimit(soft=1, hard=2)}, sysctls={"net.a.b": "1"},
    )  # fmt: skip
    gpu = contract.Device(host="/dev/nvidia0", container="/dev/nvidia0", access="rw")
    spec = ContainerSpec(id="x", args=(), **isolation.isolation(asked, (gpu,)))
    for field in Isolation.__struct_fields__:
        if field not in ("devices", "ulimits"):
            assert getattr(spec, field) == getattr(asked, field), field
    assert spec.devices == (
        contract.Device("/dev/a", "/dev/a"), contract.Device("/dev/b", "/dev/c", "r"), gpu,
    )  # fmt: skip
    assert spec.ulimits == {"nofile": contract.Ulimit(1, 2)}


def test_the_defaults_of_both_agree() -> None:
    plain = ContainerSpec(id="x", args=())
    assert ContainerSpec(id="x", args=(), **isolation.isolation(Isolation())) == plain


def test_an_address_of_its_own() -> None:
    fields = network(OWN)
    assert (fields["netns"], fields["hostname"]) == ("/run/a", "web-0")
    assert fields["resolv_conf"] == (
        "search shop.hive\nnameserver 10.200.0.1\noptions ndots:1 timeout:2 attempts:2\n"
    )
    assert fields["hosts"].splitlines()[-1] == "10.200.0.7\tweb-0"


def test_name_servers_and_hosts_of_its_own() -> None:
    fields = network(
        OWN, hostname="box", dns=("9.9.9.9", "8.8.8.8"), dns_options=("ndots:3",),
        extra_hosts={"db": "10.0.0.5", "gw": "host-gateway"},
    )  # fmt: skip
    assert fields["hostname"] == "box"
    assert fields["resolv_conf"] == "nameserver 9.9.9.9\nnameserver 8.8.8.8\noptions ndots:3\n"
    assert fields["hosts"].splitlines()[2:] == ["10.200.0.7\tbox", "10.0.0.5\tdb", "10.200.0.1\tgw"]
    searching = network(OWN, dns=("9.9.9.9",), dns_search=("corp.example", "example"))
    assert searching["resolv_conf"].startswith("search corp.example example\n")


def test_in_the_nodes_network() -> None:
    fields = network(DIRECT, mode="host")
    assert (fields["netns"], fields["hostname"]) == ("", "n1")
    assert fields["hosts"].splitlines()[-1] == "10.200.0.1\tn1"
    assert "nameserver 10.200.0.1" in fields["resolv_conf"]


def test_without_a_network() -> None:
    fields = network(NONE, mode="none")
    assert (fields["hostname"], fields["resolv_conf"]) == ("web-0", "")
    assert fields["hosts"].splitlines()[-1] == "127.0.0.1\tweb-0"


def test_a_plain_command_has_the_machines_own_ways() -> None:
    assert not any(network(SHARED).values())
    with pytest.raises(Unsupported):
        network(SHARED, extra_hosts={"gw": "host-gateway"})
