"""What a restart policy says about an ending. Pure."""

from __future__ import annotations

from typing import Literal

from hivemind.drivers.runtimes.contract import Exit
from hivemind.model.app import Restart
from hivemind.model.quantity import show_bytes

Verdict = Literal["restart", "complete", "failed"]


def judge(policy: Restart, exit: Exit, restarts: int, *, unhealthy: bool = False) -> Verdict:
    """`restarts` is how often this allocation was restarted already. An unknown exit code counts as failure, and
    so does whatever code it left with when it was stopped for its health."""
    clean = exit.code == 0 and not unhealthy
    if policy.policy == "always":
        return "restart"
    if clean:
        return "complete"
    if policy.policy == "no" or (policy.retries and restarts >= policy.retries):
        return "failed"
    return "restart"


def explain(exit: Exit, memory: int = 0) -> str:
    """`exit code 1`, `killed by SIGKILL (signal 9)`, `out of memory (limit 64MiB)`."""
    if exit.oom:
        return f"out of memory (limit {show_bytes(memory)})" if memory else "out of memory"
    if exit.code is None:
        return exit.reason or "its exit code is not known"
    if exit.signal:
        return f"killed by signal {exit.signal}"
    return f"exit code {exit.code}" + (f": {exit.reason}" if exit.reason else "")
