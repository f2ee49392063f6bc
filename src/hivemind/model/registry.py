"""Every kind there is, in the order people see them."""

from __future__ import annotations

from hivemind.errors import Invalid
from hivemind.model.allocation import ALLOCATION
from hivemind.model.app import APP
from hivemind.model.backup import BACKUP_TARGET
from hivemind.model.circuit import CIRCUIT
from hivemind.model.config import CONFIG
from hivemind.model.deployment import DEPLOYMENT
from hivemind.model.event import EVENT
from hivemind.model.image import IMAGE
from hivemind.model.image_registry import REGISTRY
from hivemind.model.job import JOB
from hivemind.model.node import NODE
from hivemind.model.principal import PRINCIPAL
from hivemind.model.project import PROJECT
from hivemind.model.resource import Resource
from hivemind.model.routine import ROUTINE
from hivemind.model.run import RUN
from hivemind.model.secret import SECRET
from hivemind.model.snapshot import SNAPSHOT
from hivemind.model.storage import STORAGE_CLASS
from hivemind.model.volume import VOLUME

RESOURCES: dict[str, Resource] = {
    r.kind: r
    for r in (
        APP,
        ALLOCATION,
        DEPLOYMENT,
        JOB,
        RUN,
        ROUTINE,
        CIRCUIT,
        CONFIG,
        SECRET,
        VOLUME,
        SNAPSHOT,
        BACKUP_TARGET,
        STORAGE_CLASS,
        NODE,
        PROJECT,
        PRINCIPAL,
        IMAGE,
        REGISTRY,
        EVENT,
    )
}


def find(word: str) -> Resource:
    """The resource that a person means by `app`, `apps`, `a`. Raises `Invalid` that lists what there is."""
    for resource in RESOURCES.values():
        if resource.answers_to(word):
            return resource
    known = ", ".join(r.plural for r in RESOURCES.values())
    raise Invalid(f"there is no kind {word!r}", hint=f"the kinds are {known}")
