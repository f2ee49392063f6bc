"""The checks of `hivemind doctor`, on folders that look like machines."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from hivemind.cli import doctor
from hivemind.cli.doctor import CHECKS, examine
from hivemind.cli.findings import FAIL, OK, WARN, Machine
from hivemind.cli.forwarding import forward_policy
from hivemind.cli.userspaces import user_namespaces
from tests.unit.cli.conftest import Run


def machine(root: Path, **files: str) -> Machine:
    for path, text in files.items():
        place = root / path.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return Machine(root=root, endpoint=f"unix://{root}/none.sock", data_dir=str(root / "data"))


def program(root: Path, name: str) -> None:
    place = root / "usr" / "bin" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("#!/bin/sh\n")
    place.chmod(0o755)


def test_an_empty_machine_lacks_everything_and_says_what_mends_it(tmp_path: Path) -> None:
    found = examine(machine(tmp_path, etc__os_release=""))
    assert list(found) == list(CHECKS)
    failed = {name for name, f in found.items() if f.level == FAIL}
    assert failed == {"kernel", "overlayfs", "cgroups", "container runtime", "conmon", "nftables"}
    assert all(f.mend for f in found.values() if f.level != OK)
    assert found["container runtime"].mend == "apt-get install -y crun"


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=fedora\n", "dnf install -y conmon"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install -y conmon"),
        ("ID=ubuntu\nID_LIKE=debian\n", "apt-get install -y conmon"),
        ("ID=arch\n", "pacman -S --noconfirm conmon"),
        ("ID=alpine\n", "apk add conmon"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install -y conmon"),
    ],
)
def test_the_command_is_that_of_the_distribution(tmp_path: Path, release: str, command: str) -> None:
    here = machine(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text(release)
    assert doctor.monitor(here).mend == command


def test_a_machine_that_has_all(tmp_path: Path) -> None:
    for name in ("runc", "conmon", "nft", "tini-static", "chronyd", "mkfs.ext4", "restic"):
        program(tmp_path, name)
    here = machine(tmp_path)
    for path, text in {
        "proc/sys/kernel/osrelease": "6.1.0-13-amd64\n",
        "proc/sys/user/max_user_namespaces": "1000\n",
        "proc/filesystems": "nodev\toverlay\n\text4\n",
        "proc/sys/net/ipv4/ip_forward": "1\n",
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
        "etc/resolv.conf": "nameserver 192.0.2.1\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = examine(here)
    assert {n: f for n, f in found.items() if f.level != OK and n not in ("daemon", "disk", "ports")} == {}
    assert found["daemon"].level == WARN
    assert found["daemon"].mend == "hivemind daemon"
    assert found["container runtime"].found == "runc"


def test_an_old_kernel_and_half_a_cgroup(tmp_path: Path) -> None:
    here = machine(tmp_path, proc__sys__kernel__osrelease="4.4.0-generic")
    (tmp_path / "sys/fs/cgroup/memory").mkdir(parents=True)
    assert doctor.kernel(here).level == FAIL
    assert doctor.cgroups(here).level == WARN
    for name in ("cpu", "pids"):
        (tmp_path / "sys/fs/cgroup" / name).mkdir()
    assert doctor.cgroups(here).level == OK


def test_the_exit_code_says_whether_something_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEMIND_HOST", "unix:///nowhere/hivemind.sock")
    monkeypatch.setattr(
        doctor, "CHECKS", {"conmon": lambda m: doctor.Finding(FAIL, "missing", "apt-get install -y conmon")}
    )
    result = run("doctor")
    assert result.code == 1
    assert "→ apt-get install -y conmon" in result.out
    assert json.loads(run("doctor", "-o", "json").out)["ok"] is False
    monkeypatch.setattr(doctor, "CHECKS", {"root": lambda m: doctor.Finding(OK, "root")})
    assert run("doctor").code == 0


_NFT = """#!/bin/sh
[ "$*" = "-j list chains" ] && echo '{"nftables": [{"metainfo": {}}, {"chain": {"family": "%s", "table": "%s",
"name": "%s", "type": "filter", "hook": "forward", "prio": 0, "policy": "%s"}}]}' && exit
[ "$*" = "list chain inet own forward" ] && cat "$0.rules"
"""


def firewall(root: Path, *, iptables: str = "", chain: tuple[str, str, str, str] | None = None) -> Machine:
    program(root, "iptables")
    (root / "usr/bin/iptables").write_text(f"#!/bin/sh\ncat <<'END'\n{iptables}\nEND\n")
    program(root, "nft")
    (root / "usr/bin/nft").write_text(_NFT % chain if chain else "#!/bin/sh\nexit 1\n")
    return machine(root)


def test_a_foreign_firewall_that_drops_is_found_and_the_command_lets_hivemind_through(tmp_path: Path) -> None:
    for number, (iptables, chain, found, mend) in enumerate(
        [
            (
                "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER",
                None,
                "iptables drops",
                "iptables -I FORWARD -i hm+",
            ),
            (
                "-P FORWARD ACCEPT",
                ("inet", "own", "forward", "drop"),
                "own forward drops",
                "nft insert rule inet own",
            ),
            (
                "-P FORWARD ACCEPT",
                ("inet", "firewalld", "filter_FORWARD", "accept"),
                "firewalld",
                "firewall-cmd",
            ),
        ]
    ):
        finding = forward_policy(firewall(tmp_path / str(number), iptables=iptables, chain=chain))
        assert finding.level == WARN
        assert found in finding.found
        assert finding.mend.startswith(mend)


def test_a_firewall_that_lets_hivemind_through_is_fine(tmp_path: Path) -> None:
    open_ = firewall(tmp_path / "open", iptables="-P FORWARD ACCEPT")
    mended = firewall(
        tmp_path / "mended",
        iptables="-P FORWARD DROP\n-A FORWARD -o hm+ -j ACCEPT\n-A FORWARD -i hm+ -j ACCEPT",
        chain=("inet", "own", "forward", "drop"),
    )
    (tmp_path / "mended/usr/bin/nft.rules").write_text('iifname "hm*" accept\noifname "hm*" accept\n')
    for here in (open_, mended):
        assert forward_policy(here).level == OK


def test_an_engine_that_is_chosen_must_answer(tmp_path: Path) -> None:
    here = machine(tmp_path)
    (tmp_path / "etc/hivemind").mkdir(parents=True)
    settings = tmp_path / "etc/hivemind/hivemind.toml"
    settings.write_text('[node]\nruntime = "docker"\n[engines]\ndocker_socket = "/d.sock"\n')
    found = doctor.engines(here)
    assert (
        found.level == FAIL and "docker is chosen" in found.found and found.mend == "systemctl start docker"
    )
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "d.sock"))
        listening.listen()
        assert doctor.engines(here).level == OK


def test_engines_are_told_but_not_asked_for(tmp_path: Path) -> None:
    here = machine(tmp_path)
    assert doctor.engines(here) == (OK, "none; not needed", "")
    program(tmp_path, "dockerd")
    assert "docker installed but not running" in doctor.engines(here).found
    place = tmp_path / "run" / "containerd" / "containerd.sock"
    place.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        assert "--runtimes containerd" in doctor.engines(here).found


@pytest.mark.parametrize(
    ("release", "namespaces", "level"),
    [("5.15.0-1", "1000", WARN), ("6.1.0-13-amd64", "0", WARN), ("6.1.0", "", WARN), ("6.1.0", "1000", OK)],
)
def test_user_namespaces(tmp_path: Path, release: str, namespaces: str, level: str) -> None:
    here = machine(
        tmp_path, proc__sys__kernel__osrelease=release, proc__sys__user__max_user_namespaces=namespaces
    )
    found = user_namespaces(here)
    assert found.level == level and bool(found.mend) == (level != OK)
