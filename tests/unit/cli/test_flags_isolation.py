"""Docker's options for isolation and networks, as a manifest holds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hivemind.cli.declarations import find
from hivemind.cli.declarations.isolation import PERMISSIONS
from hivemind.cli.flags.app import manifest
from hivemind.cli.flags.isolation import device, extra_host, tmpfs, ulimit
from hivemind.cli.parsing import parse
from hivemind.errors import Invalid
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.isolation import Device, Isolation, Ulimit
from hivemind.model.mount import BindMount, TmpfsMount
from hivemind.model.permission import Permission

DEPLOY = find(("app", "deploy"))


def made(line: list[str], present: AppManifest | None = None) -> AppSpec:
    assert DEPLOY is not None
    return manifest(parse(DEPLOY, ["web", "--image", "busybox", *line]), "web", present).spec


def test_nothing_given_is_the_safe_default() -> None:
    assert made([]).isolation == Isolation()


def test_switches_and_lists() -> None:
    line = "--privileged --read-only --init --cap-add net_admin --cap-add CAP_SYS_PTRACE --cap-drop all --userns host"
    isolation = made([*line.split(), "--shm-size", "1GiB"]).isolation
    assert (isolation.privileged, isolation.read_only, isolation.init) == (True, True, True)
    assert (isolation.cap_add, isolation.cap_drop) == (("NET_ADMIN", "SYS_PTRACE"), ("ALL",))
    assert (isolation.users, isolation.shm_size) == ("host", 2**30)


def test_what_is_not_named_stays_and_what_is_taken_back_goes() -> None:
    spec = made(["--init", "--cap-add", "CHOWN", "--hostname", "box", "--dns", "9.9.9.9", "--gpus", "2"])
    present = AppManifest(name="web", spec=spec)
    assert made([], present) == spec
    changed = made(["--init=false", "--cap-add", "", "--gpus", "0"], present)
    assert (changed.isolation.init, changed.isolation.cap_add, changed.resources.gpus) == (False, (), 0)
    assert changed.network == spec.network


def test_security_options(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    isolation = made(
        ["--security-opt", f"seccomp={profile}", "--security-opt", "apparmor=mine", "--security-opt",
         "no-new-privileges=false"]
    ).isolation  # fmt: skip
    assert json.loads(isolation.seccomp) == {"defaultAction": "SCMP_ACT_ALLOW"}
    assert (isolation.apparmor, isolation.no_new_privileges) == ("mine", False)
    assert made(["--security-opt", "seccomp:unconfined"]).isolation.seccomp == "unconfined"
    assert made(["--security-opt", "no-new-privileges"]).isolation.no_new_privileges


@pytest.mark.parametrize(
    "option", ["label=disable", "seccomp=", "seccomp=/no/such/file", "systempaths=unconfined"]
)
def test_security_options_that_are_refused(option: str) -> None:
    with pytest.raises(Invalid) as caught:
        made(["--security-opt", option])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/fuse", Device(host="/dev/fuse")),
        ("/dev/sdb:r", Device(host="/dev/sdb", access="r")),
        ("/dev/sdb:/dev/disk", Device(host="/dev/sdb", container="/dev/disk")),
        ("/dev/sdb:/dev/disk:wr", Device(host="/dev/sdb", container="/dev/disk", access="rw")),
    ],
)
def test_devices(text: str, expected: Device) -> None:
    assert device(text) == expected


@pytest.mark.parametrize("text", ["fuse", "/dev/a:/dev/b:/dev/c", "/dev/a:b:rw", "/dev/a:/dev/b:rx"])
def test_no_devices(text: str) -> None:
    with pytest.raises(Invalid):
        device(text)


def test_limits_and_parameters() -> None:
    line = ["--ulimit", "nofile=10:20", "--ulimit", "memlock=unlimited", "--sysctl", "net.core.somaxconn=9"]
    isolation = made(line).isolation
    assert isolation.ulimits == {"nofile": Ulimit(soft=10, hard=20), "memlock": Ulimit(soft=-1, hard=-1)}
    assert isolation.sysctls == {"net.core.somaxconn": "9"}
    assert ulimit("core=0") == ("core", Ulimit(soft=0, hard=0))


@pytest.mark.parametrize(
    "line",
    [
        ["--ulimit", "files=3"], ["--ulimit", "nofile=20:10"], ["--ulimit", "nofile"], ["--sysctl", "vm.swappiness=1"],
        ["--sysctl", "kernel.core_pattern=x"], ["--network", "host", "--sysctl", "net.core.somaxconn=9"],
        ["--cap-add", "FLY"], ["--gpus", "all"], ["--gpus", "device=0"], ["--network", "bridge"],
        ["--network", "none", "--port", "80"], ["--network", "none", "--health-tcp", "80"],
        ["--network", "none", "--service", "web.local"], ["--network", "host", "--port", "8080:80"],
        ["--tmpfs", "run"], ["--tmpfs", "/run:noexec"], ["--tmpfs", "/run:size=much"], ["--add-host", "db"],
        ["--dns", "not an address"], ["--hostname", "under_score!"],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(line: list[str]) -> None:
    with pytest.raises(Invalid):
        made(line)


def test_tmpfs_beside_other_mounts() -> None:
    spec = AppSpec(image="busybox", mounts=(BindMount(source="/a", target="/b"), TmpfsMount(target="/old")))
    mounts = made(["--tmpfs", "/run:size=64m,mode=0750,rw"], AppManifest(name="web", spec=spec)).mounts
    assert mounts == (spec.mounts[0], TmpfsMount(target="/run", size=64_000_000, mode=0o750)) or mounts == (
        spec.mounts[0],
        TmpfsMount(target="/run", size=64 * 2**20, mode=0o750),
    )
    assert tmpfs("/run") == TmpfsMount(target="/run")


def test_networks() -> None:
    line = [
        "--network",
        "default",
        "--dns",
        "9.9.9.9",
        "--dns-search",
        "corp.example",
        "--dns-opt",
        "ndots:3",
    ]
    network = made([*line, "--add-host", "db:10.0.0.1", "--add-host", "gw=host-gateway"]).network
    assert (network.dns, network.dns_search, network.dns_options) == (
        ("9.9.9.9",),
        ("corp.example",),
        ("ndots:3",),
    )
    assert network.extra_hosts == {"db": "10.0.0.1", "gw": "host-gateway"}
    assert extra_host("v6:2001:db8::1") == ("v6", "2001:db8::1")


def test_help_offers_every_permission() -> None:
    assert set(PERMISSIONS) == set(Permission.__args__)  # type: ignore[attr-defined]
