"""What the processes of a container do while it does not answer: what tells a hung one from a slow one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.drivers.runtimes.contract import ProcessInfo

_BUSY = 0.5
"""Cores in use that count as working."""


def describe(before: Sequence[ProcessInfo], after: Sequence[ProcessInfo], seconds: float) -> str:
    """Two looks, `seconds` apart: `its processes are stopped (SIGSTOP)`, `it uses 98% of a core`, …"""
    if not after:
        return ""
    states = [process.state[:1] for process in after]
    if all(state in "Tt" for state in states):
        return "its processes are stopped (state T): it hangs until they are continued"
    stuck = next((process for process in after if process.state[:1] == "D"), None)
    if stuck:
        return f"{_name(stuck)} waits in the kernel (state D), as for a disk or a network file system"
    earlier = {process.pid: process.cpu_seconds for process in before}
    used = sum(max(0.0, p.cpu_seconds - earlier.get(p.pid, 0.0)) for p in after if p.pid in earlier)
    cores = used / seconds if seconds > 0 else 0.0
    if cores >= _BUSY:
        return f"it is working: it uses {cores:.0%} of a core"
    return "it is idle: its processes sleep, it hangs"


def _name(process: ProcessInfo) -> str:
    return f"{process.command.split(' ', 1)[0] or 'a process'} (pid {process.pid})"
