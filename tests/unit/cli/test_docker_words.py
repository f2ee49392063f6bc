"""What people write from memory of docker is there under that name, or the error says what comes nearest."""

from __future__ import annotations

import pytest

from hivemind.cli.command import GLOBAL_OPTIONS, by_heading
from hivemind.cli.declarations import find
from hivemind.cli.declarations.docker import NOT_HERE
from hivemind.cli.help import command as help_of
from hivemind.cli.parsing import parse
from hivemind.errors import Invalid

DOCKER_RUN = [
    "--add-host",
    "--annotation",
    "--attach",
    "--blkio-weight",
    "--blkio-weight-device",
    "--cap-add",
    "--cap-drop",
    "--cgroup-parent",
    "--cgroupns",
    "--cidfile",
    "--cpu-count",
    "--cpu-percent",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-rt-period",
    "--cpu-rt-runtime",
    "--cpu-shares",
    "--cpus",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--detach",
    "--detach-keys",
    "--device",
    "--device-cgroup-rule",
    "--device-read-bps",
    "--device-read-iops",
    "--device-write-bps",
    "--device-write-iops",
    "--disable-content-trust",
    "--dns",
    "--dns-option",
    "--dns-search",
    "--domainname",
    "--entrypoint",
    "--env",
    "--env-file",
    "--expose",
    "--gpus",
    "--group-add",
    "--health-cmd",
    "--health-interval",
    "--health-retries",
    "--health-start-interval",
    "--health-start-period",
    "--health-timeout",
    "--help",
    "--hostname",
    "--init",
    "--interactive",
    "--io-maxbandwidth",
    "--io-maxiops",
    "--ip",
    "--ip6",
    "--ipc",
    "--isolation",
    "--kernel-memory",
    "--label",
    "--label-file",
    "--link",
    "--link-local-ip",
    "--log-driver",
    "--log-opt",
    "--mac-address",
    "--memory",
    "--memory-reservation",
    "--memory-swap",
    "--memory-swappiness",
    "--mount",
    "--name",
    "--network",
    "--network-alias",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--oom-score-adj",
    "--pid",
    "--pids-limit",
    "--platform",
    "--privileged",
    "--publish",
    "--publish-all",
    "--pull",
    "--quiet",
    "--read-only",
    "--restart",
    "--rm",
    "--runtime",
    "--security-opt",
    "--shm-size",
    "--sig-proxy",
    "--stop-signal",
    "--stop-timeout",
    "--storage-opt",
    "--sysctl",
    "--tmpfs",
    "--tty",
    "--ulimit",
    "--use-api-socket",
    "--user",
    "--userns",
    "--uts",
    "--volume",
    "--volume-driver",
    "--volumes-from",
    "--workdir",
]


@pytest.mark.parametrize("name", DOCKER_RUN)
def test_each_option_of_docker_run_is_there_or_its_nearest_is_named(name: str) -> None:
    run = find(("run",))
    assert run is not None
    known = {s for option in (*run.options, *GLOBAL_OPTIONS) for s in option.spellings}
    assert (name in known) != (name in dict(NOT_HERE))
    if name not in known:
        with pytest.raises(Invalid) as caught:
            parse(run, [name, "x"])
        assert caught.value.hint == dict(NOT_HERE)[name]


def test_the_options_of_a_replica_are_listed_under_headings() -> None:
    deploy = find(("app", "deploy"))
    assert deploy is not None
    headings = list(by_heading(deploy.options))
    assert headings[:4] == ["", "Process", "Resources", "Network"] and len(headings) > 8
    shown = help_of(deploy, 80)
    assert "\nIsolation:\n" in shown and "\nUpdates:\n" in shown
    assert max(map(len, shown.split("Examples:")[0].splitlines())) <= 80
