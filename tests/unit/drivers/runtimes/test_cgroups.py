"""Control groups of both versions, against files like the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hivemind.drivers.runtimes.cgroups import Cgroup, Usage, mounted, unified

VERSION_2 = {
    "cgroup.procs": "",
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_throttled 3\n",
    "memory.current": "10485760\n",
    "memory.max": "67108864\n",
    "memory.stat": "anon 4096\nfile 8192\ninactive_anon 1\ninactive_file 4194304\n",
    "memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n",
    "pids.current": "7\n",
}
VERSION_1 = {
    "cpuacct": {"cgroup.procs": "", "cpuacct.usage": "2500000000\n"},
    "memory": {
        "cgroup.procs": "",
        "memory.usage_in_bytes": "10485760\n",
        "memory.limit_in_bytes": "67108864\n",
        "memory.stat": "cache 8192\ninactive_file 1\ntotal_inactive_file 4194304\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    },
    "pids": {"cgroup.procs": "", "pids.current": "7\n"},
}
EXPECTED = Usage(cpu_seconds=2.5, memory=6291456, memory_limit=67108864, pids=7)


def fill(directory: Path, files: dict[str, str]) -> None:
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name).write_text(text)


@pytest.fixture(params=["v1", "v2"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "v2":
        (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
        fill(tmp_path / "slice" / "a.0", VERSION_2)
    else:
        for controller, files in VERSION_1.items():
            fill(tmp_path / controller / "slice" / "a.0", files)
        (tmp_path / "memory" / "cgroup.procs").touch()
    return tmp_path


def file(root: Path, name: str) -> Path:
    return next(root.rglob(name))


def test_usage(root: Path) -> None:
    group = Cgroup("/slice/a.0", root)
    assert group.usage() == EXPECTED
    file(root, "pids.current").write_text("8\n")
    assert group.usage() == EXPECTED._replace(pids=8), "files are read in place, not remembered"
    group.close()


def test_no_memory_limit(root: Path) -> None:
    if unified(root):
        file(root, "memory.max").write_text("max\n")
    else:
        file(root, "memory.limit_in_bytes").write_text("9223372036854771712\n")
    group = Cgroup("slice/a.0", root)
    assert group.usage().memory_limit == 0
    group.close()


def test_more_cache_than_use_is_no_negative_memory(root: Path) -> None:
    """The kernel's counters lag behind each other."""
    file(root, "memory.current" if unified(root) else "memory.usage_in_bytes").write_text("1000\n")
    group = Cgroup("slice/a.0", root)
    assert group.usage().memory == 0
    group.close()


def test_kills_at_the_memory_limit(root: Path) -> None:
    group = Cgroup("slice/a.0", root)
    assert group.oom_kills() == 1
    assert group.memory_file() == file(root, "memory.events" if unified(root) else "memory.oom_control")
    group.close()


def test_a_group_that_is_gone(root: Path) -> None:
    group = Cgroup("slice/gone", root)
    with pytest.raises(FileNotFoundError):
        group.usage()
    assert group.oom_kills() == 0
    assert group.processes() == []
    group.kill()
    group.remove()


def test_processes_of_inner_groups_count(root: Path) -> None:
    outer = file(root, "cgroup.procs").parent if unified(root) else root / "memory" / "slice" / "a.0"
    (outer / "cgroup.procs").write_text("11\n12\n")
    fill(outer / "inner", {"cgroup.procs": "12\n13\n"})
    assert Cgroup("slice/a.0", root).processes() == [11, 12, 13]


def test_remove_takes_it_from_every_hierarchy(root: Path) -> None:
    fill(root / "odd" / "slice" / "a.0" / "inner", {})
    Cgroup("slice/a.0", root).remove()
    if not unified(root):
        assert not (root / "odd" / "slice" / "a.0").exists()
    assert not [path for path in root.rglob("a.0") if "odd" not in path.parts]
    assert all(path.is_dir() for path in root.rglob("slice"))


def test_whether_there_are_any(root: Path, tmp_path: Path) -> None:
    assert mounted(root)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not mounted(empty)


def test_dead_processes_do_not_hold_it_up(root: Path) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    file(root, "cgroup.procs").write_text(f"{child}\n")
    Cgroup("slice/a.0", root).kill()
    os.waitpid(child, 0)
