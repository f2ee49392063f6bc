"""What a local cluster does, as lines of a live view."""

from __future__ import annotations

from collections.abc import Mapping

from hivemind.cli.live import Line
from hivemind.cli.local_cluster import daemons
from hivemind.cli.local_cluster.cluster import LocalCluster
from hivemind.cli.local_cluster.place import LocalNode
from hivemind.cli.local_cluster.ports import HOST
from hivemind.errors import HivemindError
from hivemind.model.cluster import ClusterMember, ClusterStatus
from hivemind.model.quantity import show_bytes


class View:
    """Asks one node about all of them, another one when that does not answer."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._asked = cluster.written.nodes[0].number

    def look(self, done: Mapping[str, int]) -> tuple[str, list[Line]]:
        """Title and lines; `done`: tasks by the node's name."""
        nodes = self._cluster.written.nodes
        running = daemons.pids(nodes)
        status = self._status()
        members = {member.name: member for member in status.members} if status else {}
        found = self._cluster.found
        lines = [
            _line(node, running.get(node.number, 0), members.get(node.name), done, found.get(node.name, ""))
            for node in nodes
        ]
        return _title(self._cluster.written.swarm, status, len(running), sum(done.values())), lines

    def _status(self) -> ClusterStatus | None:
        numbers = [self._asked, *(n.number for n in self._cluster.written.nodes if n.number != self._asked)]
        for number in numbers:
            try:
                found = self._cluster.clients[number].cluster.status()
            except HivemindError:
                continue
            self._asked = number
            return found
        return None


def _title(swarm: str, status: ClusterStatus | None, running: int, done: int) -> str:
    if status is None:
        return f"{swarm}: no node answers"
    primary = next((member.name for member in status.members if member.primary), "-")
    told = f"{swarm}: {running} nodes, {len(status.members)} in the hive, epoch {status.epoch}, view {status.view}"
    told += f", primary {primary}, {status.sequence} agreed"
    if done:
        told += f", {done} tasks done"
    return told if status.can_decide else f"{told}; it cannot decide: {status.why_not}"


def _line(
    node: LocalNode, pid: int, member: ClusterMember | None, done: Mapping[str, int], found: str
) -> Line:
    if not pid:
        return Line(node.name, "stopped", f"http://{HOST}:{node.web_port}")
    state = "starting" if member is None else member.agreed
    facts = [
        "" if member is None else member.votes if member.votes != "-" else "follows",
        "" if member is None or member.reach in ("self", "alive") else member.reach,
        f"{done[node.name]} tasks" if node.name in done else "",
        show_bytes(daemons.memory(pid)),
        f"pid {pid}",
        f"http://{HOST}:{node.web_port}",
        briefly(found),
    ]
    return Line(node.name, state, "  ".join(fact for fact in facts if fact))


def briefly(found: str) -> str:
    """`let in at demo-1, found by the DHT` is `DHT: demo-1`: what stays on the screen has little room."""
    sponsor, _, source = found.removeprefix("let in at ").partition(", found by ")
    return f"{source.removeprefix('the ')}: {sponsor}" if source else ""
