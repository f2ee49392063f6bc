"""`cluster-config.yaml`: what a local cluster looks like.

swarm: demo
nodes:
  count: 10
  httpPort: 3000
  wsPort: 4000
  randomPortRange:
    min: 20000
    max: 30000
cleanup: true
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from hivemind.errors import Invalid, nearest
from hivemind.model.base import Spec
from hivemind.model.names import Name
from hivemind.model.quantity import read
from hivemind.protocols.yaml12 import documents

DEFAULT_FILE = "cluster-config.yaml"
_PORTS_OF_A_NODE = 3
"""Its API, the hive, and one to spare: another program may have taken one."""
Port = Annotated[int, Meta(ge=1, le=65535)]


class PortRange(Spec, frozen=True, kw_only=True):
    min: Port = 20000
    max: Port = 30000


class Nodes(Spec, frozen=True, kw_only=True, rename="camel"):
    count: Annotated[int, Meta(ge=1, le=200)] = 10
    http_port: Port = 3000
    """Where the first node's API answers; the others' ports are taken from the range."""
    ws_port: Port = 4000
    """The same API once more, for those who keep WebSockets apart."""
    random_port_range: PortRange = PortRange()


class ClusterConfig(Spec, frozen=True, kw_only=True):
    swarm: Name = "swarm"
    """The hive's name."""
    nodes: Nodes = Nodes()
    cleanup: bool = True
    """Everything is removed at the end; else the nodes' data stays, and the next start goes on with it."""


_KEYS = {
    "": ("swarm", "nodes", "cleanup"),
    "nodes": ("count", "httpPort", "wsPort", "randomPortRange"),
    "nodes.randomPortRange": ("min", "max"),
}


def load(path: str) -> ClusterConfig:
    """Raises `Invalid` that names the file and what is wrong in it."""
    hint = "it has the keys swarm, nodes (count, httpPort, wsPort, randomPortRange: min, max) and cleanup"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(
            f"{path} cannot be read: {error.strerror}", hint=f"{hint}; see docs/cluster.md"
        ) from None
    except UnicodeDecodeError:
        raise Invalid(f"{path} is no text", hint=hint) from None
    found = list(documents(text, path))
    if not found:
        raise Invalid(f"{path} is empty", hint=f"{hint}; examples/cluster-config.yaml is one")
    if len(found) != 1 or not isinstance(found[0].value, dict):
        raise Invalid(f"{path} is not one document", hint=hint)
    _refuse_strangers(path, "", found[0].value)
    try:
        config: ClusterConfig = read(found[0].value, ClusterConfig)
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}", hint=error.hint or hint) from None
    _check_range(path, config)
    return config


def _refuse_strangers(path: str, where: str, value: object) -> None:
    if not isinstance(value, dict) or where not in _KEYS:
        return
    for key, inner in value.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in _KEYS[where]:
            known = ", ".join(_KEYS[where])
            hint = nearest(str(key), _KEYS[where]) or f"{where or 'the file'} knows {known}"
            raise Invalid(f"{path}: there is no key {place!r}", hint=hint)
        _refuse_strangers(path, place, inner)


def _check_range(path: str, config: ClusterConfig) -> None:
    span, needed = config.nodes.random_port_range, config.nodes.count * _PORTS_OF_A_NODE
    if span.max - span.min + 1 < needed:
        raise Invalid(
            f"{path}: {config.nodes.count} nodes need {needed} ports, and randomPortRange has"
            f" {max(0, span.max - span.min + 1)}",
            hint=f"for example min: {span.min}, max: {min(65535, span.min + needed)}",
        )
    if config.nodes.http_port == config.nodes.ws_port:
        raise Invalid(f"{path}: httpPort and wsPort are the same", hint="give each a port of its own")
