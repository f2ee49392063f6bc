"""What is dangerous is refused unless the project was opened for it, whichever way it arrives."""

from __future__ import annotations

from typing import Any

import pytest

from hive import Hive
from hivemind.model.app import AppManifest, AppSpec, Companion
from hivemind.model.isolation import Device, Isolation
from hivemind.model.mount import BindMount
from hivemind.model.network import NetworkOptions
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.state.operations import DeployApp, PutProject, RegisterPrincipal

DANGEROUS: list[tuple[str, dict[str, Any]]] = [
    ("privileged", {"isolation": Isolation(privileged=True)}),
    ("capabilities", {"isolation": Isolation(cap_add=("NET_ADMIN",))}),
    ("capabilities", {"isolation": Isolation(cap_add=("ALL",))}),
    ("unconfined", {"isolation": Isolation(seccomp="unconfined")}),
    ("unconfined", {"isolation": Isolation(seccomp='{"defaultAction": "SCMP_ACT_ALLOW"}')}),
    ("unconfined", {"isolation": Isolation(apparmor="unconfined")}),
    ("host-users", {"isolation": Isolation(users="host")}),
    ("devices", {"isolation": Isolation(devices=(Device(host="/dev/sda"),))}),
    ("host-network", {"network": NetworkOptions(mode="host")}),
    ("bind", {"mounts": (BindMount(source="/", target="/host"),)}),
    ("processes", {"image": "", "command": ("id",), "runtime": "process"}),
    ("privileged", {"sidecars": (Companion(name="spy", image="x", isolation=Isolation(privileged=True)),)}),
    (
        "bind",
        {"init_containers": (Companion(name="p", image="x", mounts=(BindMount(source="/", target="/h"),)),)},
    ),
]

OPERATOR = "ab" * 32


def deploy(hive: Hive, *, refused: bool = False, **fields: Any) -> Any:
    manifest = AppManifest(name="web", spec=AppSpec(**{"image": "nginx", **fields}))
    return hive.do(DeployApp(project="default", manifest=manifest), refused=refused)


def allow(hive: Hive, *permissions: Any) -> None:
    hive.do(PutProject(manifest=ProjectManifest(name="default", permissions=permissions)))


@pytest.mark.parametrize(("permission", "fields"), DANGEROUS)
def test_each_needs_its_permission(permission: str, fields: dict[str, Any]) -> None:
    hive = Hive()
    outcome = deploy(hive, refused=True, **fields)
    assert outcome.code == "forbidden" and permission in outcome.message
    assert f"hivemind project allow default {permission}" in outcome.hint
    assert not hive.state.apps
    allow(hive, permission)
    deploy(hive, **fields)


def test_harmless_wishes_need_none() -> None:
    isolation = Isolation(
        cap_add=("NET_RAW",), cap_drop=("ALL",), read_only=True, init=True, no_new_privileges=False,
        sysctls={"net.core.somaxconn": "9"},
    )  # fmt: skip
    deploy(Hive(), isolation=isolation, network=NetworkOptions(mode="none", dns=("9.9.9.9",)))


def test_all_that_is_missing_is_said_at_once() -> None:
    isolation = Isolation(privileged=True, devices=(Device(host="/dev/sda"),))
    outcome = deploy(Hive(), refused=True, isolation=isolation)
    assert outcome.hint.endswith("project allow default privileged devices")


def test_taking_a_permission_away_stops_nothing_but_the_next_deploy() -> None:
    hive = Hive()
    allow(hive, "privileged")
    deploy(hive, isolation=Isolation(privileged=True))
    allow(hive)
    assert [a.live for a in hive.state.allocations.values()] == [True]
    deploy(hive, refused=True, isolation=Isolation(privileged=True), env={"NEW": "1"})
    deploy(hive, isolation=Isolation())


def test_only_an_administrator_gives_permissions() -> None:
    hive = Hive()
    operator = Principal(id=OPERATOR, name="op", kind="person", role=Role.OPERATOR)
    hive.do(RegisterPrincipal(principal=operator))
    wish = PutProject(manifest=ProjectManifest(name="default", permissions=("privileged",)))
    assert hive.do(wish, by=OPERATOR, refused=True).code == "forbidden"
    assert hive.state.projects["default"].permissions == ()
