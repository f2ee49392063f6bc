"""A local cluster from its first daemon to its last trace."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack

from msgspec.structs import replace

from hivemind.cli.local_cluster import daemons
from hivemind.cli.local_cluster.config import ClusterConfig
from hivemind.cli.local_cluster.place import LocalNode, Place, Written
from hivemind.cli.local_cluster.ports import HOST, is_free, take
from hivemind.client.client import Hivemind
from hivemind.errors import Conflict, HivemindError, TimedOut, Unavailable
from hivemind.model.cluster import FoundRequest, JoinRequest, JoinTokenRequest

_START = 60.0
"""Seconds that daemons have until they answer."""
_AT_A_TIME = 16
"""Nodes that join: twice as many as one lets in at a time, for the others find one that has come meanwhile."""
_AS_BEFORE = "of the hive, as before"
Heard = Callable[[str, str, str], None]
"""Node, state, detail: how far one of them is."""


def plan(config: ClusterConfig, place: Place) -> Written:
    """Ports for every node. What is written down already stays. Raises `Conflict` when that is not what was asked for,
    or a port is taken."""
    known = place.read()
    if known is not None:
        first, wished = known.nodes[0], config.nodes
        there = (len(known.nodes), first.web_port, first.ws_port)
        if there != (wished.count, wished.http_port, wished.ws_port):
            raise Conflict(
                f"there is a cluster {config.swarm} of {there[0]} nodes already, with httpPort {there[1]} and wsPort"
                f" {there[2]}, and the file says otherwise",
                hint="remove it first: hivemind cluster down; or write into the file what it has",
            )
        return replace(known, cleanup=config.cleanup)
    for key, port in (("httpPort", config.nodes.http_port), ("wsPort", config.nodes.ws_port)):
        if not is_free(port):
            raise Conflict(f"port {port} is taken by another program", hint=f"choose another nodes.{key}")
    return Written(swarm=config.swarm, cleanup=config.cleanup, nodes=tuple(_nodes(config, place)))


def _nodes(config: ClusterConfig, place: Place) -> Iterator[LocalNode]:
    wished, count = config.nodes, config.nodes.count
    span = wished.random_port_range
    ports = iter(take(span.min, span.max, 2 * count - 1, {wished.http_port, wished.ws_port}))
    for number in range(1, count + 1):
        first = number == 1
        yield LocalNode(
            number=number,
            name=f"{config.swarm}-{number}",
            home=str(place.home / str(number)),
            web_port=wished.http_port if first else next(ports),
            ws_port=wished.ws_port if first else 0,
            hive_port=next(ports),
        )


class LocalCluster:
    def __init__(self, written: Written) -> None:
        self.written = written
        self.found: dict[str, str] = {}
        """How each that joined now found the one that let it in, by its name."""
        self._stack = ExitStack()
        self.clients = {
            node.number: self._stack.enter_context(Hivemind(f"unix://{node.socket}"))
            for node in written.nodes
        }

    def close(self) -> None:
        self._stack.close()

    def start(self, heard: Heard) -> None:
        """Returns when all nodes are of one hive: the first founds it; the others, whose token has no address in it,
        find it by the hash table. Raises `Unavailable` when a daemon ends, with its last words."""
        running = daemons.pids(self.written.nodes)
        nodes = self.written.nodes
        started = {
            node.number: daemons.launch(node, [other for other in nodes if other is not node])
            for node in nodes if node.number not in running
        }  # fmt: skip
        deadline = time.monotonic() + _START
        for node in self.written.nodes:
            heard(node.name, "starting", f"http://{HOST}:{node.web_port}")
        for node in self.written.nodes:
            while not self._answers(node):
                process = started.get(node.number)
                if process is not None and process.poll() is not None:
                    raise Unavailable(f"{node.name} ended: {last_words(node)}", hint=self._log_of(node))
                if time.monotonic() > deadline:
                    said = last_words(node)
                    raise TimedOut(f"{node.name} does not answer: {said}", hint=self._log_of(node))
                time.sleep(0.05)
        self._gather(heard)

    def _log_of(self, node: LocalNode) -> str:
        kept = (
            "" if not self.written.cleanup else "; it goes with the rest, unless the file says cleanup: false"
        )
        return f"all that it said is in {node.log}{kept}"

    def _answers(self, node: LocalNode) -> bool:
        try:
            return bool(self.clients[node.number].status().node)
        except HivemindError:
            return False

    def _gather(self, heard: Heard) -> None:
        first, *others = self.written.nodes
        founder = self.clients[first.number]
        if self._is_in(first):
            heard(first.name, "ready", _AS_BEFORE)
        else:
            founder.cluster.init(FoundRequest(name=self.written.swarm))
            heard(first.name, "ready", "founded the hive")
        missing = []
        for node in others:
            if self._is_in(node):
                heard(node.name, "ready", _AS_BEFORE)
            else:
                missing.append(node)
        if not missing:
            return
        wish = JoinTokenRequest(uses=len(missing), expires=600.0, addresses=False)
        token = founder.cluster.new_token(wish).token
        pool = ThreadPoolExecutor(_AT_A_TIME)
        try:
            for join in as_completed([pool.submit(self._join, node, token, heard) for node in missing]):
                join.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a join that hangs ends with its daemon

    def _is_in(self, node: LocalNode) -> bool:
        status = self.clients[node.number].cluster.status()
        return bool(status.name) and not status.step

    def _join(self, node: LocalNode, token: str, heard: Heard) -> None:
        for step in self.clients[node.number].cluster.join(JoinRequest(token=token)):
            found = self._named(step.detail)
            if step.step not in ("contacting", ""):
                self.found[node.name] = found
            heard(node.name, step.step, found)

    def _named(self, detail: str) -> str:
        """With the names of nodes instead of their addresses."""
        for node in self.written.nodes:
            detail = re.sub(rf"\b{re.escape(HOST)}:{node.hive_port}\b", node.name, detail)
        return detail


def remove(written: Written, place: Place, *, data: bool) -> list[str]:
    """Ends every daemon; with `data`, everything else of them, too. The problems."""
    daemons.end(written.nodes)
    if not data:
        return []
    problems = daemons.destroy(written.nodes)
    if not problems:
        place.remove()
    return problems


def last_words(node: LocalNode) -> str:
    """Of an error, what it is; its hint is for whoever runs that daemon alone."""
    try:
        lines = node.log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    if len(lines) > 1 and lines[-1].startswith("hint: "):
        lines.pop()
    return lines[-1].removeprefix("error: ") if lines else "it said nothing"
