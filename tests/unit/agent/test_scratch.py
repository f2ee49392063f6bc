"""Scratch directories of allocations."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind.agent.provision.scratch import Scratch
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec, Companion
from hivemind.model.mount import ScratchMount, TmpfsMount

pytestmark = pytest.mark.anyio
SPEC = AppSpec(
    image="web:1",
    mounts=(ScratchMount(source="run", target="/run/app"), TmpfsMount(target="/tmp")),
    sidecars=(
        Companion(
            name="log", image="log:1", mounts=(ScratchMount(source="run", target="/in", readonly=True),)
        ),
    ),
)


def allocation(id: str) -> Allocation:
    return Allocation(id=id, project="p", app="i", app_name="web", revision=1, slot=0, attempt=1)


async def test_containers_of_one_allocation_share_it_and_others_do_not(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    own = (await scratch.provide(allocation("a"), SPEC, SPEC, "")).mounts
    beside = (await scratch.provide(allocation("a"), SPEC, SPEC.sidecars[0], "1000")).mounts
    other = (await scratch.provide(allocation("b"), SPEC, SPEC, "")).mounts
    assert [(m.target, m.readonly, m.idmap) for m in (*own, *beside)] == [
        ("/run/app", False, True), ("/in", True, True),
    ]  # fmt: skip
    assert own[0].source == beside[0].source != other[0].source
    assert Path(own[0].source).stat().st_mode & 0o7777 == 0o1777
    assert Path(own[0].source).parent.parent.stat().st_mode & 0o077 == 0, "nobody else comes in"


async def test_it_is_kept_while_containers_restart_and_gone_with_the_allocation(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    [mount] = (await scratch.provide(allocation("a"), SPEC, SPEC, "")).mounts
    Path(mount.source, "file").write_text("kept")
    [again] = (await Scratch(tmp_path / "scratch").provide(allocation("a"), SPEC, SPEC, "")).mounts
    assert Path(again.source, "file").read_text() == "kept"
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("precious")
    Path(mount.source, "link").symlink_to(outside)
    await scratch.release("a")
    await scratch.release("a")
    assert not Path(mount.source).exists()
    assert (outside / "file").read_text() == "precious"


async def test_what_no_allocation_has_any_more_is_removed(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    await scratch.prune(set())
    for id in "abc":
        await scratch.provide(allocation(id), SPEC, SPEC, "")
    await scratch.prune({"b"})
    assert [entry.name for entry in (tmp_path / "scratch").iterdir()] == ["b"]
