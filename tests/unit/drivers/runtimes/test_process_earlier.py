"""What the first version of the shim left on disk, written here as it wrote it, after it and the daemon were killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from hivemind.drivers.runtimes.contract import LogQuery, Status
from hivemind.drivers.runtimes.process.runtime import ProcessRuntime
from hivemind.drivers.runtimes.process.tree import boot_id, start_time

pytestmark = pytest.mark.anyio

SPEC = {
    "image": "", "args": ["sh", "-c", "exit 4"], "env": {"A": "b"}, "secret_env": {}, "user": "", "workdir": "/",
    "hostname": "", "netns": "", "network": "", "ip": "", "network_shared": False, "resolv_conf": "", "hosts": "",
    "mounts": [], "cpus": 0.0, "memory": 0, "pids": 0, "tty": False, "stdin": False, "read_only": False,
    "init": False, "privileged": False, "cap_add": [], "cap_drop": [], "seccomp": "default", "apparmor": "",
    "no_new_privileges": True, "users": "auto", "shm_size": 67108864, "devices": [], "ulimits": {}, "sysctls": {},
    "stop_signal": "SIGTERM", "labels": {"x": "y"}, "log_max_size": 16777216, "log_max_files": 3,
}  # fmt: skip
LOG = """\
2026-11-21T16:47:58.282360393Z stdout F out
2026-11-21T16:47:58.282601842Z stderr F err
"""


def leave(state: Path, id: str, pid: int = 0, exit: dict[str, Any] | None = None) -> None:
    directory = state / "containers" / id
    (directory / "log").mkdir(parents=True)
    (directory / "spec.json").write_text(json.dumps({"spec": {"id": id, **SPEC}, "created": 1795279678327}))
    if pid or exit:
        born = {
            "pid": pid,
            "start_time": start_time(pid) if pid else 1839553,
            "started": 5,
            "boot": boot_id(),
        }
        (directory / "process.json").write_text(json.dumps(born))
        (directory / "log" / "log").write_text(LOG)
    if exit:
        (directory / "exit.json").write_text(json.dumps(exit))


async def test_what_was_left_is_known_told_and_cleared_away(tmp_path: Path) -> None:
    state = tmp_path / "state"
    going = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    try:
        leave(state, "ended.0", exit={"code": 5, "oom": False, "at": 1795279678283, "reason": ""})
        leave(state, "made.0")
        leave(state, "going.0", going.pid)
        (state / "containers" / ".gone-old.0").mkdir()
        runtime = ProcessRuntime(state, tmp_path / "run")
        await runtime.open()
        async with asyncio.timeout(20):
            assert (await runtime.wait("ended.0")).code == 5
            lost = await runtime.wait("going.0")
        assert lost.code is None and lost.reason, "nobody saw how it ended"
        async with asyncio.timeout(20):
            assert await going.wait() == -9, "what nobody cares for any more is ended"
        found = {each.id: each.status for each in await runtime.list()}
        assert found == {"ended.0": Status.EXITED, "going.0": Status.EXITED, "made.0": Status.CREATED}
        assert [line.text async for line in runtime.logs("ended.0", LogQuery())] == ["out", "err"]
        await runtime.start("made.0")
        async with asyncio.timeout(20):
            assert (await runtime.wait("made.0")).code == 4
        for id in found:
            await runtime.remove(id)
        await runtime.close()
        again = ProcessRuntime(state, tmp_path / "run")
        await again.open()
        assert await again.list() == [] and not (state / "containers").exists()
        await again.destroy()
    finally:
        with contextlib.suppress(ProcessLookupError):
            going.kill()
        await going.wait()
