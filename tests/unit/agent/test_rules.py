"""The agent's pure rules: back-off, restart policies, and what becomes a container."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.agent.provision.contract import Provision
from hivemind.agent.work.backoff import LONGEST, WELL_AFTER, Backoff
from hivemind.agent.work.compose import Place, compose, container_id, place_of
from hivemind.agent.work.restarts import explain, judge
from hivemind.drivers.network.contract import Attachment
from hivemind.drivers.runtimes.contract import ContainerSpec, Exit
from hivemind.errors import Invalid
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec, Restart
from hivemind.model.image import Image, ImageConfig
from hivemind.model.network import Port
from hivemind.model.template import Resources, Stop

ALLOCATION = Allocation(
    id="abc", project="shop", app="id", app_name="web", revision=3, slot=2, attempt=7, node="n"
)
APART = Attachment(allocation="abc", ip="10.0.0.5", netns="/run/netns/abc", nameserver="10.0.0.1")
SHARED = Attachment(allocation="abc", ip="127.0.0.1", ports={"80/tcp": 31080, "53/udp": 31053})


def composed(
    config: ImageConfig | None = None, attachment: Attachment = APART, **spec: object
) -> ContainerSpec:
    image = Image(digest="sha256:1", names=("web:1",), config=config or ImageConfig(command=("serve",)))
    return compose(
        ALLOCATION, AppSpec(image="web:1", **spec), image, attachment, Provision(),  # type: ignore[arg-type]
        place=Place("abc", 4), node_name="one", search="shop.hive",
    )  # fmt: skip


# -- back-off ------------------------------------------------------------------------------------------------


def test_the_first_restart_is_immediate_and_each_further_one_waits_twice_as_long() -> None:
    backoff, delays = Backoff(), []
    for _ in range(10):
        backoff = backoff.after_run(0.1)
        delays.append(backoff.delay)
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.after_run(WELL_AFTER).delay == 0


@given(st.lists(st.floats(-1e9, 1e9)))
def test_a_wait_is_never_longer_than_the_longest_whatever_clocks_say(runs: list[float]) -> None:
    backoff = Backoff()
    for seconds in runs:
        backoff = backoff.after_run(seconds)
        assert 0 <= backoff.delay <= LONGEST


# -- restart policies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "unhealthy", "verdict"),
    [
        (Restart(), 0, 0, False, "restart"),
        (Restart(), 1, 10**6, False, "restart"),
        (Restart(policy="no"), 0, 0, False, "complete"),
        (Restart(policy="no"), 1, 0, False, "failed"),
        (Restart(policy="no"), None, 0, False, "failed"),
        (Restart(policy="on-failure"), 0, 0, False, "complete"),
        (Restart(policy="on-failure"), 1, 999, False, "restart"),
        (Restart(policy="on-failure"), None, 0, False, "restart"),
        (Restart(policy="on-failure"), 0, 0, True, "restart"),
        (Restart(policy="on-failure", retries=2), 1, 1, False, "restart"),
        (Restart(policy="on-failure", retries=2), 1, 2, False, "failed"),
        (Restart(policy="on-failure", retries=2), 0, 2, True, "failed"),
    ],
)
def test_what_a_policy_says(
    policy: Restart, code: int | None, restarts: int, unhealthy: bool, verdict: str
) -> None:
    assert judge(policy, Exit(code=code), restarts, unhealthy=unhealthy) == verdict


@pytest.mark.parametrize(
    ("exit", "memory", "says"),
    [
        (Exit(code=3), 0, "exit code 3"),
        (Exit(code=127, reason="no such file"), 0, "exit code 127: no such file"),
        (Exit(code=137), 0, "killed by signal 9"),
        (Exit(code=137, oom=True), 64 * 2**20, "out of memory (limit 64MiB)"),
        (Exit(code=137, oom=True), 0, "out of memory"),
        (Exit(code=None, reason="the machine was started anew"), 0, "the machine was started anew"),
        (Exit(code=None), 0, "its exit code is not known"),
        (Exit(code=255), 0, "exit code 255"),
    ],
)
def test_an_ending_in_words(exit: Exit, memory: int, says: str) -> None:
    assert explain(exit, memory) == says


# -- containers ----------------------------------------------------------------------------------------------


def test_ids_lead_back_to_their_allocation() -> None:
    assert place_of(container_id("0abz", 12)) == Place("0abz", 12)
    assert place_of(container_id("0abz", 3, "db-1")) == Place("0abz", 3, "db-1")


@pytest.mark.parametrize(
    "id",
    [
        "",
        ".",
        "abc",
        "abc.",
        ".1",
        "a.b.1",
        "a.-1",
        "a.+1",
        "a. 1",
        "a.01",
        "a.1_0",
        "A.1",
        "a.1.",
        "a.1.-x",
        "a.1.X",
        "a.1.b.c",
    ],
)
def test_other_ids_are_nobodys(id: str) -> None:
    with pytest.raises(ValueError):
        place_of(id)


@pytest.mark.parametrize(
    ("entrypoint", "command", "args"),
    [
        (None, None, ("init", "run", "serve", "-v")),
        (None, ("other",), ("init", "run", "other")),
        (None, (), ("init", "run")),
        (("mine",), None, ("mine",)),
        (("mine",), ("x",), ("mine", "x")),
        ((), ("x",), ("x",)),
    ],
)
def test_entrypoint_and_command_follow_dockers_rules(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...] | None, args: tuple[str, ...]
) -> None:
    config = ImageConfig(entrypoint=("init", "run"), command=("serve", "-v"))
    assert composed(config, entrypoint=entrypoint, command=command).args == args


def test_nothing_to_run_is_said_clearly() -> None:
    with pytest.raises(Invalid, match="names no command") as refused:
        composed(ImageConfig())
    assert "--command" in refused.value.hint


def test_the_apps_environment_beats_hiveminds_which_beats_the_images() -> None:
    config = ImageConfig(
        command=("serve",), env=("PATH=/bin", "HIVEMIND_NODE=image", "A=1", "B=x=y", "odd", "EMPTY=")
    )
    env = composed(config, env={"A": "2", "HIVEMIND_APP": "mine"}).env
    assert env == {
        "PATH": "/bin", "A": "2", "B": "x=y", "EMPTY": "", "HIVEMIND_APP": "mine", "HIVEMIND_NODE": "one",
        "HIVEMIND_PROJECT": "shop", "HIVEMIND_ALLOCATION": "abc", "HIVEMIND_REPLICA": "2", "HIVEMIND_REVISION": "3",
    }  # fmt: skip


def test_on_a_shared_network_it_is_told_where_to_listen() -> None:
    spec = composed(attachment=SHARED, ports=(Port(container=80), Port(container=53, protocol="udp")))
    assert (spec.env["PORT"], spec.env["PORT_80"], spec.env["PORT_53"]) == ("31080", "31080", "31053")
    assert (spec.netns, spec.hostname, spec.hosts, spec.resolv_conf) == ("", "", "", "")
    assert not [name for name in composed().env if name.startswith("PORT")]


def test_in_a_network_of_its_own_it_has_a_name_and_a_name_server() -> None:
    spec = composed()
    assert (spec.id, spec.netns, spec.hostname) == ("abc.4", "/run/netns/abc", "web-2")
    assert "10.0.0.5\tweb-2" in spec.hosts.splitlines()
    assert spec.resolv_conf.splitlines()[:2] == ["search shop.hive", "nameserver 10.0.0.1"]


@pytest.mark.parametrize(
    ("asked", "image", "signal"),
    [(None, "", "SIGTERM"), (None, "SIGQUIT", "SIGQUIT"), ("INT", "SIGQUIT", "SIGINT"), ("9", "", "9")],
)
def test_the_stop_signal(asked: str | None, image: str, signal: str) -> None:
    spec = composed(ImageConfig(command=("serve",), stop_signal=image), stop=Stop(signal=asked))
    assert (spec.stop_signal, spec.labels["hivemind.stop-signal"]) == (signal, signal)


def test_user_place_and_limits() -> None:
    config = ImageConfig(command=("serve",), user="www", workdir="/srv")
    assert (composed(config).user, composed(config).workdir) == ("www", "/srv")
    spec = composed(config, user="", workdir="/", resources=Resources(cpus=0.5, memory=2**20, pids=9))
    assert (spec.user, spec.workdir) == ("", "/")
    assert (spec.cpus, spec.memory, spec.pids) == (0.5, 2**20, 9)
