"""Words and places that mean something else to the kernel than they look like are refused."""

from __future__ import annotations

from typing import Any

import pytest

from hive import Hive
from hivemind.model.app import Companion
from hivemind.model.mount import TmpfsMount


@pytest.mark.parametrize(
    "target", ["/proc", "//proc", "/./proc/", "/proc/sys/kernel", "/proc/.", "/", "/./", "//sys/.", "/dev/"]
)
def test_nothing_is_mounted_over_what_the_kernel_shows_of_itself(target: str) -> None:
    mounts = (TmpfsMount(target=target),)
    refused = Hive().deploy(mounts=mounts, refused=True)
    assert refused.code == "invalid" and "nothing can be mounted" in refused.message
    beside = (Companion(name="side", image="x", mounts=mounts),)
    assert Hive().deploy(sidecars=beside, refused=True).code == "invalid"


def test_places_below_the_others_are_fine() -> None:
    places = ("/dev/shm", "/sys/fs/cgroup", "/process", "/procs/x", "/etc/resolv.conf")
    Hive().deploy(mounts=tuple(TmpfsMount(target=place) for place in places))


def test_one_place_written_in_two_ways_is_one_place() -> None:
    mounts = (TmpfsMount(target="/a/b"), TmpfsMount(target="/a/./b/"))
    assert "two mounts" in Hive().deploy(mounts=mounts, refused=True).message


@pytest.mark.parametrize(
    ("what", "spec"),
    [
        ("command", {"command": ("sh", "-c", "true\0false")}),
        ("entrypoint", {"entrypoint": ("sh\0",)}),
        ("variable A", {"env": {"A": "x\0LD_PRELOAD=/evil"}}),
        ("user", {"user": "app\0root"}),
        ("workdir", {"workdir": "/a\0b"}),
    ],
)
def test_what_a_nul_would_cut_off_is_refused(what: str, spec: dict[str, Any]) -> None:
    refused = Hive().deploy(**spec, refused=True)
    assert refused.code == "invalid" and f"the {what} holds a NUL byte" in refused.message
    beside = (Companion(name="side", image="x", **spec),)
    assert Hive().deploy(sidecars=beside, refused=True).code == "invalid"
