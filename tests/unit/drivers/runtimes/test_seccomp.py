"""The seccomp profile: what it says must hold together, and what is dangerous must stay out."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from hivemind.drivers.runtimes import seccomp

MACHINES = ("x86_64", "aarch64", "s390x", "riscv64", "ppc64le", "armv7l")


def rules(profile: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [rule for rule in profile["syscalls"] if name in rule["names"]]


def unconditional(profile: dict[str, Any]) -> set[str]:
    return {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }


def test_no_name_is_listed_twice() -> None:
    assert len(seccomp.ALLOWED) == len(set(seccomp.ALLOWED))
    assert len(seccomp.REFUSED) == len(set(seccomp.REFUSED))
    assert not set(seccomp.ALLOWED) & set(seccomp.REFUSED)


def test_what_a_capability_opens_is_closed_without_it() -> None:
    opened = {call for calls in seccomp.BY_CAPABILITY.values() for call in calls}
    assert opened <= set(seccomp.REFUSED)


@pytest.mark.parametrize("machine", MACHINES)
def test_no_rule_contradicts_another(machine: str) -> None:
    """libseccomp takes the first of two rules for the same call, or refuses to load."""
    profile = seccomp.profile(machine=machine)
    refused = {
        name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ERRNO" for name in rule["names"]
    }
    assert not refused & unconditional(profile)
    conditional = {"clone", "personality", "socket"}
    assert not conditional & (unconditional(profile) | refused)


@pytest.mark.parametrize(
    "name",
    [
        *("mount", "umount2", "pivot_root", "setns", "unshare", "bpf", "perf_event_open", "userfaultfd"),
        *("kexec_load", "init_module", "finit_module", "delete_module", "reboot", "swapon"),
        *("keyctl", "add_key", "request_key", "io_uring_setup", "open_by_handle_at", "iopl", "ioperm"),
        *("clone3", "process_vm_writev", "settimeofday", "move_mount", "open_tree", "fsopen", "fsmount"),
    ],
)
def test_dangerous_calls_are_not_allowed(name: str) -> None:
    assert name not in unconditional(seccomp.profile())
    assert not [rule for rule in rules(seccomp.profile(), name) if rule["action"] == "SCMP_ACT_ALLOW"]


def test_unknown_calls_are_not_implemented_and_dangerous_ones_not_permitted() -> None:
    profile = seccomp.profile()
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", errno.ENOSYS)
    assert [rule["errnoRet"] for rule in rules(profile, "mount")] == [errno.EPERM]
    assert [rule["errnoRet"] for rule in rules(profile, "clone3")] == [errno.ENOSYS]


@pytest.mark.parametrize(("machine", "index"), [("x86_64", 0), ("aarch64", 0), ("s390x", 1)])
def test_clone_makes_no_namespaces(machine: str, index: int) -> None:
    (rule,) = rules(seccomp.profile(machine=machine), "clone")
    (argument,) = rule["args"]
    new_user, new_net, thread = 0x10000000, 0x40000000, 0x3D0F00
    assert (argument["index"], argument["op"], argument["valueTwo"]) == (index, "SCMP_CMP_MASKED_EQ", 0)
    assert argument["value"] & new_user and argument["value"] & new_net
    assert not argument["value"] & thread, "what a C library starts threads with"


def test_a_capability_opens_its_calls() -> None:
    profile = seccomp.profile([*seccomp.DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN"])
    assert "mount" in unconditional(profile)
    assert not [rule for rule in rules(profile, "mount") if rule["action"] == "SCMP_ACT_ERRNO"]
    assert "unshare" not in unconditional(profile)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_machines_own_instruction_set_comes_first(machine: str) -> None:
    architectures = seccomp.profile(machine=machine)["architectures"]
    own = {"armv7l": "ARM"}.get(machine, machine.upper())
    assert architectures[0] == f"SCMP_ARCH_{own}"
    assert len(architectures) == len(set(architectures))


def test_socket_families() -> None:
    """AF_ALG (38) and AF_VSOCK (40) are closed; those before, between and after are open."""
    compare = {"SCMP_CMP_LT": int.__lt__, "SCMP_CMP_EQ": int.__eq__, "SCMP_CMP_GT": int.__gt__}
    found = rules(seccomp.profile(), "socket")
    open_ = {
        family
        for family in range(46)
        for rule in found
        if all(compare[argument["op"]](family, argument["value"]) for argument in rule["args"])
    }
    assert set(range(46)) - open_ == {38, 40}
