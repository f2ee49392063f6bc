"""What a plain command uses: from its control group, or summed over its processes where it has none."""

from __future__ import annotations

import os
from collections.abc import Callable

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.contract import Stats
from hivemind.errors import NotFound

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


def usage(pid: int, cgroup: Cgroup | None, members: Callable[[], list[int]], *, own_network: bool) -> Stats:
    """`members`: all its processes, for one without a control group. Network counters are those of its own namespace,
    else 0. Raises `NotFound` once it has ended."""
    received, sent = _network(pid) if own_network else (0, 0)
    if cgroup is None:
        return _summed(members(), received, sent)
    try:
        used = cgroup.usage()
    except OSError as error:
        raise NotFound("it ended meanwhile, so it uses nothing") from error
    return Stats(
        cpu_seconds=used.cpu_seconds,
        memory=used.memory,
        memory_limit=used.memory_limit,
        pids=used.pids,
        net_rx=received,
        net_tx=sent,
    )


def _summed(members: list[int], received: int, sent: int) -> Stats:
    ticks = pages = count = 0
    for member in members:
        try:
            with open(f"/proc/{member}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        own, reaped = fields[11:13], fields[13:15]
        ticks += sum(map(int, own)) + sum(map(int, reaped))
        pages += int(fields[21])
        count += 1
    return Stats(cpu_seconds=ticks / _TICKS, memory=pages * _PAGE, pids=count, net_rx=received, net_tx=sent)


def _network(pid: int) -> tuple[int, int]:
    received = sent = 0
    try:
        with open(f"/proc/{pid}/net/dev") as file:
            rows = [line.partition(":") for line in file.readlines()[2:]]
    except OSError:
        return 0, 0
    for name, _, counters in rows:
        if name.strip() != "lo":
            fields = counters.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent
