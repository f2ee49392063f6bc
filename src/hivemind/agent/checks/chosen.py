"""Which checks count for a container: those of its template, or the one that its image brings. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hivemind.model.base import decode, encode
from hivemind.model.check import Check, Hook
from hivemind.model.image import ImageConfig
from hivemind.model.template import ContainerTemplate

_INHERITED = "hivemind.check"
"""Label of a container: the check of its image. So a daemon that adopts it needs no image to know it."""


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    both: Check | None = None
    """Readiness and liveness in one."""
    startup: Check | None = None
    liveness: Check | None = None
    readiness: Check | None = None
    post_start: Hook | None = None

    def __bool__(self) -> bool:
        return bool(self.both or self.startup or self.liveness or self.readiness or self.post_start)


def checks_of(template: ContainerTemplate, labels: Mapping[str, str]) -> Checks:
    """`labels` are those of the container."""
    both = template.check
    if _takes_the_images(template) and (inherited := labels.get(_INHERITED)):
        both = decode(inherited.encode(), Check)
    return Checks(
        both=both,
        startup=template.startup,
        liveness=template.liveness,
        readiness=template.readiness,
        post_start=template.post_start,
    )


def inherited_check(template: ContainerTemplate, config: ImageConfig) -> dict[str, str]:
    """The label that carries the image's check, if it counts."""
    if config.healthcheck is None or not _takes_the_images(template):
        return {}
    return {_INHERITED: encode(config.healthcheck).decode()}


def _takes_the_images(template: ContainerTemplate) -> bool:
    given = template.check or template.startup or template.liveness or template.readiness
    return template.healthcheck == "image" and given is None
