"""What a container may do, as its OCI configuration says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hivemind.drivers.runtimes import capabilities, seccomp_profiles
from hivemind.drivers.runtimes.contract import ContainerSpec, Device, Mount, Ulimit
from hivemind.drivers.runtimes.oci import bundle, rights
from hivemind.drivers.runtimes.oci.devices import Node
from hivemind.drivers.runtimes.oci.idmap import SIZE, Users
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.drivers.runtimes.process.isolation import refuse_isolation
from hivemind.errors import Invalid, Unsupported
from hivemind.model.isolation import CAPABILITIES

ALL = frozenset(capabilities.NAMES)


def spec(**fields: Any) -> ContainerSpec:
    return ContainerSpec(id="web.0", args=("serve",), **fields)


def configuration(container: ContainerSpec, **more: Any) -> dict[str, Any]:
    given = {
        "rootfs": "/fs",
        "cgroup": "/g",
        "netns": "",
        "files": {},
        "sources": {},
        "open_files": 1024,
    } | more
    return bundle.configuration(container, Account(), **given)


def mount(made: dict[str, Any], target: str) -> dict[str, Any]:
    (found,) = (each for each in made["mounts"] if each["destination"] == target)
    return found


def test_both_lists_of_capabilities_are_one() -> None:
    assert {f"CAP_{name}" for name in CAPABILITIES - {"ALL"}} == ALL


@pytest.mark.parametrize(
    ("fields", "present", "absent"),
    [
        ({}, "CAP_CHOWN", "CAP_NET_ADMIN"),
        ({"cap_drop": ("CHOWN",)}, "CAP_KILL", "CAP_CHOWN"),
        ({"cap_drop": ("ALL",), "cap_add": ("CHOWN",)}, "CAP_CHOWN", "CAP_KILL"),
        ({"cap_drop": ("CHOWN",), "cap_add": ("CHOWN",)}, "CAP_CHOWN", "CAP_NET_ADMIN"),
        ({"cap_add": ("cap_net_admin",)}, "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
        ({"cap_add": ("ALL",)}, "CAP_SYS_ADMIN", ""),
        ({"privileged": True, "cap_drop": ("ALL",)}, "CAP_SYS_ADMIN", ""),
    ],
)
def test_capabilities(fields: dict[str, Any], present: str, absent: str) -> None:
    held = capabilities.of(spec(**fields), ALL)
    assert present in held and absent not in held


def test_capabilities_that_the_daemon_lacks() -> None:
    few = ALL - {"CAP_SYS_RESOURCE", "CAP_MKNOD"}
    assert "CAP_MKNOD" not in capabilities.of(spec(), few)
    assert set(capabilities.of(spec(cap_add=("ALL",)), few)) == few
    with pytest.raises(Unsupported, match="CAP_SYS_RESOURCE"):
        capabilities.of(spec(cap_add=("SYS_RESOURCE",)), few)
    with pytest.raises(Invalid, match="FLY"):
        capabilities.of(spec(cap_add=("FLY",)), ALL)


def test_who_has_users_of_its_own() -> None:
    assert rights.in_own_users(spec(netns="/n"))
    assert rights.in_own_users(spec(netns="/n", cap_add=("SYS_PTRACE", "NET_RAW")))
    for fields in (
        {},
        {"users": "host"},
        {"privileged": True},
        {"cap_add": ("NET_ADMIN",)},
        {"cap_add": ("ALL",)},
    ):
        assert not rights.in_own_users(spec(**({"netns": "/n"} if fields else {}), **fields)), fields


def test_rlimits() -> None:
    limits = {"nofile": Ulimit(5, 9), "memlock": Ulimit(-1, -1)}
    assert rights.rlimits(spec(ulimits=limits), 1024) == [
        {"type": "RLIMIT_MEMLOCK", "soft": 2**64 - 1, "hard": 2**64 - 1},
        {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 9},
    ]


def test_privileged_is_not_guarded() -> None:
    made = configuration(spec(privileged=True))
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & made["linux"].keys()
    assert made["process"]["noNewPrivileges"] is False
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "rw" in mount(made, "/sys")["options"] and "rw" in mount(made, "/sys/fs/cgroup")["options"]
    assert (
        "seccomp"
        in configuration(spec(privileged=True, seccomp='{"defaultAction": "SCMP_ACT_ALLOW"}'))["linux"]
    )


def test_apparmor() -> None:
    assert configuration(spec(apparmor="mine"))["process"]["apparmorProfile"] == "mine"
    rights.check_apparmor(spec(apparmor="mine"), frozenset({"mine"}))
    rights.check_apparmor(spec(apparmor="unconfined"), None)
    for loaded in (None, frozenset({"other"})):
        with pytest.raises(Unsupported, match="mine"):
            rights.check_apparmor(spec(apparmor="mine"), loaded)


def test_users_of_its_own() -> None:
    users = Users(2_000_000).including((5, 100_000, 70_000))
    assert users.lines() == [(0, 2_000_000, SIZE), (70_000, 2_065_536, 1), (100_000, 2_065_537, 1)]
    assert [users.outside(inside) for inside in (0, 65_535, 100_000, 99)] == [
        2_000_000,
        2_065_535,
        2_065_537,
        2_000_099,
    ]
    assert users.outside(70_001) == -1
    made = configuration(spec(), netns="/n", users=users, sysfs="/stage/sys")
    assert {"type": "user"} in made["linux"]["namespaces"]
    assert made["linux"]["uidMappings"] == made["linux"]["gidMappings"]
    assert made["linux"]["uidMappings"][0] == {"containerID": 0, "hostID": 2_000_000, "size": SIZE}
    assert mount(made, "/sys")["type"] == "bind" and "ro" in mount(made, "/sys")["options"]


def test_devices() -> None:
    fuse = Node(path="/dev/mine", kind="c", major=10, minor=229, mode=0o600, uid=0, gid=5, access="r")
    made = configuration(spec(), devices=[fuse])
    assert made["linux"]["devices"] == [fuse.entry()]
    rule = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}
    assert made["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}, rule]
    bound = configuration(spec(), devices=[fuse], device_sources={"/dev/mine": "/stage/devices/0"})
    assert bound["linux"]["devices"] == [] and mount(bound, "/dev/mine")["source"] == "/stage/devices/0"
    assert bound["linux"]["resources"]["devices"][-1] == rule


def test_an_init_comes_first_and_other_things_on_its_root() -> None:
    made = configuration(spec(init=True, read_only=True, shm_size=4096), init_program="/usr/bin/tini-static")
    assert made["process"]["args"] == ["/dev/init", "--", "serve"]
    assert mount(made, "/dev/init")["source"] == "/usr/bin/tini-static"
    assert made["root"]["readonly"] is True
    assert "size=4096" in mount(made, "/dev/shm")["options"]


def test_a_profile_as_docker_has_it() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
        ],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_KILL"]}},
            {"names": ["arm_sync"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["modify_ldt"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {
                "name": "write",
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 13,
                "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }

    def names(held: list[str], machine: str, release: str) -> list[str]:
        made = seccomp_profiles.from_docker(json.dumps(profile), held, machine=machine, release=release)
        return [name for rule in made["syscalls"] for name in rule["names"]]

    assert names(["CAP_KILL"], "x86_64", "6.1.0-18-amd64") == ["read", "ptrace", "write"]
    assert names(["CAP_SYS_ADMIN"], "x86_64", "4.4.0") == ["read", "mount", "chroot", "write"]
    assert names(["CAP_KILL"], "aarch64", "5.0") == ["read", "arm_sync", "modify_ldt", "ptrace", "write"]
    made = seccomp_profiles.from_docker(json.dumps(profile), [], machine="x86_64", release="6")
    assert made["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"] and made["defaultErrnoRet"] == 1
    assert made["syscalls"][-1]["errnoRet"] == 13 and made["syscalls"][-1]["args"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"defaultAction": 3}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"]}]}',
    ],
)
def test_what_is_no_profile(text: str) -> None:
    with pytest.raises(Invalid):
        seccomp_profiles.from_docker(text, [], machine="x86_64", release="6")


@pytest.mark.parametrize(
    "fields",
    [
        {"privileged": True}, {"cap_add": ("CHOWN",)}, {"cap_drop": ("ALL",)}, {"seccomp": "{}"}, {"apparmor": "p"},
        {"read_only": True}, {"init": True}, {"shm_size": 1}, {"ulimits": {"core": Ulimit(0, 0)}},
        {"sysctls": {"net.a.b": "1"}}, {"devices": (Device("/dev/a", "/dev/b"),)}, {"hostname": "box"},
        {"resolv_conf": "x"}, {"hosts": "x"},
    ],
)  # fmt: skip
def test_a_plain_command_is_refused_what_it_would_not_get(fields: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        refuse_isolation(spec(**fields))


def test_a_plain_command_may_ask_for_the_ordinary() -> None:
    refuse_isolation(spec(users="host", devices=(Device("/dev/a", "/dev/a"),), mounts=(Mount(target="/x"),)))
