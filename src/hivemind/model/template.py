"""The container template: what one container is, whether it is an app's own or one of its companions'."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hivemind.errors import Invalid
from hivemind.model.base import Spec
from hivemind.model.check import Check, Hook
from hivemind.model.isolation import Isolation
from hivemind.model.mount import Key, Mount, check_mounts
from hivemind.model.names import Name
from hivemind.model.quantity import Bytes, Cores, Seconds

EnvName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\Z",
        description="the name of a variable: letters, digits and _, not beginning with a digit",
    ),
]


class Resources(Spec, frozen=True, kw_only=True):
    """`cpus` and `memory` are both what is set aside on the node and the limit of the container.

    Zero means no limit, and nothing is set aside."""

    cpus: Cores = 0.0
    memory: Bytes = 0
    pids: Annotated[int, Meta(ge=0, le=4_194_304)] = 0
    gpus: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Whole devices, which nobody else gets meanwhile."""


class Stop(Spec, frozen=True, kw_only=True):
    signal: (
        Annotated[str, Meta(pattern=r"^(SIG)?[A-Z0-9+]+\Z", description="a signal such as SIGTERM")] | None
    ) = None
    """The image's own stop signal, else SIGTERM, when absent."""
    grace: Seconds = 10.0


class EnvFrom(Spec, frozen=True, kw_only=True):
    """A variable from a `key` of a config or secret; without `key` all its keys, each `prefix` + its name."""

    config: Name | None = None
    secret: Name | None = None
    key: Key | None = None
    name: EnvName | None = None
    """The variable, when a key is given; the key's own name when absent."""
    prefix: str = ""


class ContainerTemplate(Spec, frozen=True, kw_only=True):
    image: Annotated[str, Meta(max_length=512)] = ""
    """Empty only for plain commands on the `process` runtime."""
    pull: Literal["missing", "always", "never"] = "missing"
    """When the registry is asked: if the node lacks the image, before each start, not at all."""
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    env: dict[EnvName, str] = {}
    env_from: tuple[EnvFrom, ...] = ()
    user: str | None = None
    workdir: Annotated[str, Meta(pattern="^/", description="an absolute path")] | None = None
    tty: bool = False
    """Its output goes to a terminal, to which `attach` connects."""
    stdin: bool = False
    """Its input stays open for `attach`; otherwise it reads nothing."""
    mounts: tuple[Mount, ...] = ()
    resources: Resources = Resources()
    isolation: Isolation = Isolation()
    check: Check | None = None
    """Readiness and liveness in one, as docker's HEALTHCHECK: serves while it passes, restarts when it fails."""
    healthcheck: Literal["image", "none"] = "image"
    """Whether the HEALTHCHECK of the image counts where no check is given here."""
    startup: Check | None = None
    """Until it passes once the others are not asked; when it fails the container is restarted."""
    liveness: Check | None = None
    """When it fails the container is restarted."""
    readiness: Check | None = None
    """While it fails nothing is sent there; nothing is restarted."""
    post_start: Hook | None = None
    """Until it is done the container is not ready; when it fails the container is restarted."""
    pre_stop: Hook | None = None
    """Done before the stop signal, within the grace period."""
    stop: Stop = Stop()


def check_template(template: ContainerTemplate, runtime: str) -> None:
    """What the types alone cannot say. Raises `Invalid`."""
    if not template.image and not (template.command or template.entrypoint):
        raise Invalid(
            "an app needs an image or a command", hint="give --image, or --command with --runtime process"
        )
    if not template.image and runtime not in ("process", "fake"):
        raise Invalid(
            "only the process runtime runs without an image", hint="give --image, or --runtime process"
        )
    if template.check and (template.liveness or template.readiness):
        raise Invalid(
            "check is readiness and liveness in one, and they are given beside it",
            hint="give either check, or liveness and readiness",
        )
    for source in template.env_from:
        if (source.config is None) == (source.secret is None):
            raise Invalid("env_from takes a variable from one config or one secret", hint="name one of them")
        if source.name and not source.key:
            raise Invalid(f"env_from names the variable {source.name} but no key", hint="name the key, too")
    _check_texts(template)
    check_mounts(template.mounts)


def _check_texts(template: ContainerTemplate) -> None:
    """The kernel ends every word at a NUL: what stands behind it would be lost, or taken for the next one."""
    words = {
        "entrypoint": template.entrypoint or (),
        "command": template.command or (),
        "user": (template.user or "",),
        "workdir": (template.workdir or "",),
        **{f"variable {name}": (value,) for name, value in template.env.items()},
    }
    for what, texts in words.items():
        if any("\0" in text for text in texts):
            raise Invalid(f"the {what} holds a NUL byte", hint="mount a config or secret with it as a file")
