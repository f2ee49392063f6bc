"""From an order, the image and what this node adds to what a runtime starts. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hivemind.agent.provision.contract import Provision
from hivemind.agent.work import isolation
from hivemind.agent.work.compose import BOOT, arguments, container_id, parse_env, stop_signal, user_of
from hivemind.drivers.network.contract import Attachment
from hivemind.drivers.runtimes.contract import Container, ContainerSpec, Mount
from hivemind.jobs.order import OUTPUT, STEPS, Order
from hivemind.model.allocation import Allocation
from hivemind.model.image import Image, ImageConfig

TOLD = "/run/hivemind"
"""Where a container finds what it may write to its node."""
WORKDIR = "hivemind.workdir"
"""Label of a container: where its command begins."""
PLACE = "hivemind.place"
"""Label: the name of its live directory."""
_RUN, _PATH, _RANK, _ATTEMPT = "hivemind.run", "hivemind.path", "hivemind.rank", "hivemind.attempt"


class Member(NamedTuple):
    """Of which an allocation is an attempt: at no time two of one run."""

    run: str
    path: str
    rank: int


def member_of(allocation: Allocation) -> Member:
    return Member(allocation.run, allocation.path, allocation.slot)


def member_by(container: Container) -> tuple[Member, int] | None:
    """With the number of the attempt; None for what is no attempt of a task."""
    labels = container.labels
    if _RUN not in labels:
        return None
    return Member(labels[_RUN], labels[_PATH], int(labels[_RANK])), int(labels[_ATTEMPT])


def compose(
    allocation: Allocation,
    order: Order,
    image: Image | None,
    attachment: Attachment,
    provision: Provision,
    *,
    secrets: Mapping[str, str],
    further: Mapping[str, str],
    place: Path,
    node_name: str,
    boot: str,
) -> ContainerSpec:
    """`place`: the attempt's live directory. `further`: variables that only the node knows."""
    template = order.template
    config = image.config if image else ImageConfig()
    signal = stop_signal(template, config)
    contained = image is not None
    env = {
        **parse_env(config.env),
        **({} if contained else _home(place)),
        **provision.env,
        **template.env,
        **_own(allocation, node_name),
        **_places(order, TOLD if contained else str(place)),
        **further,
    }
    hidden = {name: value for name, value in provision.secret_env.items() if name not in template.env}
    return ContainerSpec(
        id=container_id(allocation.id, 0),
        image=image.digest if image else "",
        args=arguments(template, config),
        env={name: value for name, value in env.items() if name not in secrets},
        secret_env={**hidden, **secrets},
        mounts=tuple(sorted((*provision.mounts, *_told(place, contained)), key=lambda mount: mount.target)),
        user=user_of(template, config),
        workdir=workdir(order, config, place),
        **isolation.network(
            template.network, attachment, name=_hostname(allocation), node_name=node_name,
            search=f"{allocation.project}.hive",
        ),
        **isolation.isolation(template.isolation, provision.devices),
        cpus=template.resources.cpus,
        memory=template.resources.memory,
        pids=template.resources.pids,
        stop_signal=signal,
        fleeting=True,
        labels={
            "hivemind.project": allocation.project,
            "hivemind.allocation": allocation.id,
            _RUN: allocation.run,
            _PATH: allocation.path,
            _RANK: str(allocation.slot),
            _ATTEMPT: str(allocation.attempt),
            "hivemind.stop-signal": signal,
            PLACE: place.name,
            **({WORKDIR: workdir(order, config, place)} if contained else {}),
            **({BOOT: boot} if boot else {}),
        },
    )  # fmt: skip


def workdir(order: Order, config: ImageConfig, place: Path) -> str:
    """A plain command's is its own directory, or one of the machine's that the task names."""
    wanted = order.template.workdir or ""
    base = (config.workdir or "/") if order.template.image else f"{place}/work"
    return os.path.join(base, wanted) if wanted else base


def _home(place: Path) -> dict[str, str]:
    own = f"{place}/work"
    return {"HOME": own, "TMPDIR": own}


def _own(allocation: Allocation, node_name: str) -> dict[str, str]:
    return {"HIVEMIND_ALLOCATION": allocation.id, "HIVEMIND_NODE": node_name}


def _places(order: Order, top: str) -> dict[str, str]:
    found = {OUTPUT: f"{top}/output"}
    return {**found, STEPS: f"{top}/steps"} if order.steps else found


def _told(place: Path, contained: bool) -> tuple[Mount, ...]:
    return (Mount(TOLD, str(place / "told")),) if contained else ()


def _hostname(allocation: Allocation) -> str:
    """A label that a person recognises: `build-2`, of a gang with its rank."""
    letters = "".join(c if c.isalnum() else "-" for c in allocation.path.lower())
    return f"{letters.strip('-')[:48].rstrip('-')}-{allocation.slot}".strip("-")
