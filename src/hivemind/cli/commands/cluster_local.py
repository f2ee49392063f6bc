"""`hivemind cluster up` and `down`: a whole cluster on this machine."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from hivemind.cli.context import Context
from hivemind.cli.live import Line, Live
from hivemind.cli.local_cluster import daemons
from hivemind.cli.local_cluster.cluster import LocalCluster, plan, remove
from hivemind.cli.local_cluster.config import DEFAULT_FILE, ClusterConfig, load
from hivemind.cli.local_cluster.place import Place, Written
from hivemind.cli.local_cluster.ports import HOST
from hivemind.cli.local_cluster.view import View
from hivemind.cli.local_cluster.work import Feeder
from hivemind.errors import Conflict, HivemindError, Invalid, Unavailable

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REFRESH = 0.5
_HANDING_OVER = 120.0
"""Seconds that the command which watches over a cluster has to end it."""


def up(context: Context) -> None:
    config = load(context.args.get("file") or DEFAULT_FILE)
    if context.args.detach and context.args.simulate_tasks:
        raise Invalid("--simulate-tasks needs somebody who feeds it", hint="leave out --detach")
    place = Place(config.swarm)
    place.hold()
    try:
        _sweep(context, place, config)
        written = plan(config, place)
    except HivemindError:
        if place.read() is None:
            place.remove()
        raise
    place.write(written)
    kept = False
    cluster = LocalCluster(written)
    try:
        with _interruptible(), Live(context.terminal) as live:
            _start(cluster, live)
            if context.args.detach:
                place.write(replace(written, detached=True))
                kept = True
            else:
                _watch(context, cluster, live)
    finally:
        cluster.close()
        if not kept:
            with _undisturbed():
                _end(context, written, place)
    if kept:
        first = written.nodes[0]
        context.print(f"{config.swarm} runs: {len(written.nodes)} nodes, http://{HOST}:{first.web_port}")
        context.note(f"To look at it: hivemind --host unix://{first.socket} cluster status")
        context.note("To end it: hivemind cluster down" + _file(context))


def down(context: Context) -> None:
    config = load(context.args.get("file") or DEFAULT_FILE)
    place = Place(config.swarm)
    if holder := place.holder():
        _let_end(holder)
    written = place.read()
    if written is None:
        place.remove()
        context.print(f"nothing of {config.swarm} is left")
        return
    _report(context, remove(written, place, data=True))
    context.print(f"nothing of {config.swarm} is left")


def _sweep(context: Context, place: Place, config: ClusterConfig) -> None:
    """What a command left that was killed: gone, unless its data is to stay. Raises `Conflict` for one that is meant to
    run."""
    found = place.read()
    if found is None or not found.cleanup:
        return
    if found.detached and daemons.pids(found.nodes):
        raise Conflict(
            f"the cluster {config.swarm} runs already, detached",
            hint=f"hivemind cluster down{_file(context)} ends it; look at it with"
            f" hivemind --host unix://{found.nodes[0].socket} cluster status",
        )
    context.note(f"removing what is left of an earlier {config.swarm}")
    _report(context, remove(found, place, data=True))
    place.hold()


def _start(cluster: LocalCluster, live: Live) -> None:
    lines = {node.name: Line(node.name, "waiting") for node in cluster.written.nodes}
    lock = threading.Lock()

    def heard(name: str, state: str, detail: str) -> None:
        with lock:
            lines[name] = Line(name, state, detail)
            live.update(f"starting {cluster.written.swarm}", list(lines.values()))

    cluster.start(heard)


def _watch(context: Context, cluster: LocalCluster, live: Live) -> None:
    """Until somebody says that it is enough. Plain lines where nobody looks on say what changes, without numbers that
    change all the time."""
    view = View(cluster)
    feeder = Feeder(cluster.clients[cluster.written.nodes[0].number]) if context.args.simulate_tasks else None
    if feeder:
        feeder.start()
    try:
        while True:
            title, lines = view.look(feeder.done if feeder else {})
            shown = lines if live.animated else [Line(line.key, line.state) for line in lines]
            if not live.animated and feeder:
                shown.append(Line("tasks", "done", feeder.told))
            elif feeder and feeder.trouble:
                shown.append(Line("tasks", "failing", feeder.trouble))
            live.update(title, shown)
            time.sleep(_REFRESH)
    finally:
        if feeder:
            feeder.stop()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end what runs inside, as if it had come to its end."""
    before = {number: signal.signal(number, _enough) for number in _ENDING}
    try:
        yield
    except _Enough:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Whoever presses Ctrl-C twice shall not leave half of it behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Enough(BaseException):
    """Somebody said that it is enough."""


def _enough(number: int, frame: object) -> None:
    raise _Enough


def _end(context: Context, written: Written, place: Place) -> None:
    context.note(f"ending {written.swarm}")
    _report(context, remove(written, place, data=written.cleanup))


def _report(context: Context, problems: list[str]) -> None:
    if problems:
        raise Unavailable("; ".join(problems), hint="see to that, then: hivemind cluster down")


def _let_end(holder: int) -> None:
    """The command that watches over it ends it itself; one that does not hear is ended."""
    try:
        handle = os.pidfd_open(holder)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], _HANDING_OVER)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], 10)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def _file(context: Context) -> str:
    given = context.args.get("file")
    return f" --file {given}" if given else ""
