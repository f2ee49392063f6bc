"""A container's OCI configuration, as translated from its spec."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.drivers.runtimes import capabilities, seccomp
from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, Mount
from hivemind.drivers.runtimes.oci import bundle
from hivemind.drivers.runtimes.oci.users import Account

ROOT = Account()


def configuration(account: Account = ROOT, **fields: Any) -> dict[str, Any]:
    handed = {name: fields.pop(name, None) for name in ("netns", "files", "sources")}
    return bundle.configuration(
        ContainerSpec(id="web.0", args=("serve",), **fields),
        account,
        rootfs="/root/fs",
        cgroup="/slice/web.0",
        netns=handed["netns"] or "",
        files=handed["files"] or {},
        sources=handed["sources"] or {},
        open_files=20_000,
    )


def env(configuration: dict[str, Any]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in configuration["process"]["env"])


def mount(configuration: dict[str, Any], target: str) -> dict[str, Any]:
    (found,) = (mount for mount in configuration["mounts"] if mount["destination"] == target)
    return found


def test_root_has_the_default_capabilities_and_may_gain_none() -> None:
    process = configuration()["process"]
    expected = sorted(seccomp.DEFAULT_CAPABILITIES, key=capabilities.NAMES.index)
    assert process["capabilities"] == {"bounding": expected, "effective": expected, "permitted": expected}
    assert process["noNewPrivileges"] is True


def test_an_ordinary_user_has_none() -> None:
    process = configuration(Account(uid=1000, gid=7, groups=(8, 9)))["process"]
    assert process["user"] == {"uid": 1000, "gid": 7, "additionalGids": [8, 9]}
    assert process["capabilities"]["effective"] == process["capabilities"]["permitted"] == []
    assert "ambient" not in process["capabilities"] and "inheritable" not in process["capabilities"]


@pytest.mark.parametrize("capability", ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_MODULE", "CAP_NET_ADMIN"])
def test_capabilities_that_nobody_has(capability: str) -> None:
    assert capability not in configuration()["process"]["capabilities"]["bounding"]


def test_environment_defaults_give_way_to_what_is_asked_for() -> None:
    assert env(configuration(Account(home="/home/app"), hostname="web-1")) == {
        "PATH": bundle.DEFAULT_PATH,
        "HOSTNAME": "web-1",
        "HOME": "/home/app",
    }
    own = {"PATH": "/bin", "HOME": "/", "EQUALS": "a=b", "EMPTY": ""}
    assert env(configuration(env=own)) == {"HOSTNAME": "web.0"} | own


def test_a_long_id_is_no_longer_hostname_than_the_kernel_takes() -> None:
    assert len(bundle.hostname(ContainerSpec(id="x" * 90, args=("true",)))) == 63


def test_mounts_come_from_the_outside_in() -> None:
    mounts = (
        Mount(target="/data/a/b", source="/1"),
        Mount(target="/data/", source="/2"),
        Mount(target="/data/a", size=4096),
    )
    targets = [mount["destination"] for mount in configuration(mounts=mounts)["mounts"]]
    assert targets[-3:] == ["/data/", "/data/a", "/data/a/b"]
    assert targets.index("/proc") == 0
    assert targets.index("/dev") < targets.index("/dev/pts") < targets.index("/data/")
    assert targets.index("/sys") < targets.index("/sys/fs/cgroup")


def test_kinds_of_mounts() -> None:
    mounts = (
        Mount(target="/data", source="/host/data"),
        Mount(target="/fixed", source="/host/fixed", readonly=True),
        Mount(target="/scratch", size=1 << 20),
        Mount(target="/void", readonly=True),
    )
    made = configuration(mounts=mounts, sources={"/data": "/state/sources/0"})
    assert mount(made, "/data") == {
        "destination": "/data",
        "type": "bind",
        "source": "/state/sources/0",
        "options": ["rbind", "rprivate", "rw"],
    }
    assert mount(made, "/fixed")["source"] == "/host/fixed"
    assert "ro" in mount(made, "/fixed")["options"]
    assert mount(made, "/scratch")["type"] == "tmpfs"
    assert {"nosuid", "nodev", "size=1048576"} <= set(mount(made, "/scratch")["options"])
    assert "ro" in mount(made, "/void")["options"]
    assert not [option for option in mount(made, "/void")["options"] if option.startswith("size=")]


def test_the_kernels_own_file_systems_are_guarded() -> None:
    made = configuration()
    assert "ro" in mount(made, "/sys")["options"] and "ro" in mount(made, "/sys/fs/cgroup")["options"]
    assert {"nosuid", "noexec", "nodev"} <= set(mount(made, "/proc")["options"])
    assert "/proc/kcore" in made["linux"]["maskedPaths"]
    assert "/proc/sys" in made["linux"]["readonlyPaths"]
    assert made["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]


def test_single_files_are_bound() -> None:
    made = configuration(files={"/etc/hosts": "/state/files/hosts"})
    assert mount(made, "/etc/hosts")["source"] == "/state/files/hosts"


def test_namespaces() -> None:
    private = {"pid", "ipc", "uts", "mount", "cgroup"}
    of_the_host = configuration()["linux"]
    assert {namespace["type"] for namespace in of_the_host["namespaces"]} == private
    own = configuration(netns="/proc/1/fd/9")["linux"]
    assert own["namespaces"][-1] == {"type": "network", "path": "/proc/1/fd/9"}


def test_no_limits_are_no_limits() -> None:
    assert set(configuration()["linux"]["resources"]) == {"devices"}


def test_limits() -> None:
    limits = configuration(cpus=1.5, memory=64 << 20, pids=100)["linux"]["resources"]
    assert limits["cpu"] == {"period": 100_000, "quota": 150_000, "shares": 1536}
    assert limits["memory"] == {"limit": 64 << 20, "swap": 64 << 20}, "memory and swap together: no swap"
    assert limits["pids"] == {"limit": 100}


def test_a_sliver_of_a_processor_is_still_one_the_kernel_takes() -> None:
    limits = configuration(cpus=0.0001)["linux"]["resources"]["cpu"]
    assert limits["quota"] >= 1000 and limits["shares"] >= 2


@pytest.mark.parametrize(("daemon", "soft"), [(1024, 1024), (1_048_576, 65_536)])
def test_open_files_stay_below_what_the_daemon_may_have(daemon: int, soft: int) -> None:
    spec = ContainerSpec(id="web.0", args=("true",))
    process = bundle.process(spec, spec.args, {}, Account(), workdir="/", open_files=daemon)
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": daemon}]


def test_a_command_that_joins_has_the_containers_environment_and_its_own() -> None:
    container = ContainerSpec(id="web.0", args=("serve",), env={"A": "1", "B": "2"}, workdir="/srv")
    joined = bundle.exec_process(container, ExecSpec(args=("sh",), env={"B": "3"}), Account(), 1024)
    assert {"A=1", "B=3"} <= set(joined["env"])
    assert (joined["cwd"], joined["terminal"]) == ("/srv", False)
    assert "consoleSize" not in joined
    assert not [pair for pair in joined["env"] if pair.startswith("TERM=")]


def test_a_command_at_a_terminal() -> None:
    container = ContainerSpec(id="web.0", args=("serve",))
    asked = ExecSpec(args=("sh",), tty=True, columns=120, rows=40, workdir="/tmp")
    joined = bundle.exec_process(container, asked, Account(), 1024)
    assert (joined["cwd"], joined["terminal"]) == ("/tmp", True)
    assert joined["consoleSize"] == {"width": 120, "height": 40}
    assert "TERM=xterm" in joined["env"]
    with_its_own = ContainerSpec(id="web.0", args=("serve",), env={"TERM": "vt100"})
    assert "TERM=vt100" in bundle.exec_process(with_its_own, asked, Account(), 1024)["env"]
