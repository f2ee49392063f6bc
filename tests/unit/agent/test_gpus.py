"""GPUs: found on the machine, handed out one by one, known again after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hivemind.agent.provision.gpus import Gpus
from hivemind.drivers.gpus import Gpu, detect
from hivemind.errors import Unavailable
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec, Companion
from hivemind.model.template import Resources

pytestmark = pytest.mark.anyio
THREE = tuple(Gpu(f"nvidia{n}", (f"/dev/nvidia{n}", "/dev/nvidiactl")) for n in range(3))


def app(gpus: int, **more: Any) -> AppSpec:
    return AppSpec(image="cuda", resources=Resources(gpus=gpus), **more)


def allocation(id: str) -> Allocation:
    return Allocation(
        id=id, project="default", app="a", app_name="a", slot=0, attempt=1, revision=1, created=0, updated=0
    )


async def given(gpus: Gpus, id: str, spec: AppSpec, template: Any = None) -> list[str]:
    provision = await gpus.provide(allocation(id), spec, template or spec, "")
    assert all(device.host == device.container for device in provision.devices)
    return [device.host for device in provision.devices if device.host != "/dev/nvidiactl"]


def test_detection(tmp_path: Path) -> None:
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"):
        (tmp_path / name).touch()
    (tmp_path / "dri").mkdir()
    (tmp_path / "dri" / "renderD128").touch()
    assert [gpu.name for gpu in detect(tmp_path)] == ["nvidia2", "nvidia10"], (
        "a render node alone does not compute"
    )
    assert detect(tmp_path)[0].paths == tuple(
        str(tmp_path / name) for name in ("nvidia2", "nvidiactl", "nvidia-uvm")
    )
    (tmp_path / "kfd").touch()
    assert detect(tmp_path)[-1] == Gpu(
        "renderD128", (str(tmp_path / "dri/renderD128"), str(tmp_path / "kfd"))
    )
    assert detect(tmp_path / "none") == ()


async def test_everyone_has_others_and_gives_them_back(tmp_path: Path) -> None:
    gpus = Gpus(tmp_path / "gpus.json", THREE)
    assert await given(gpus, "one", app(2)) == ["/dev/nvidia0", "/dev/nvidia1"]
    assert await given(gpus, "two", app(1)) == ["/dev/nvidia2"]
    assert await given(gpus, "one", app(2)) == ["/dev/nvidia0", "/dev/nvidia1"], "the same again"
    assert await given(gpus, "none", app(0)) == []
    with pytest.raises(Unavailable, match="0 of this node's 3 are free"):
        await given(gpus, "three", app(1))
    await gpus.release("one")
    await gpus.release("one")
    assert await given(gpus, "three", app(1)) == ["/dev/nvidia0"]


async def test_a_new_daemon_knows_who_has_what(tmp_path: Path) -> None:
    await given(Gpus(tmp_path / "gpus.json", THREE), "one", app(1))
    again = Gpus(tmp_path / "gpus.json", THREE)
    assert await given(again, "two", app(2)) == ["/dev/nvidia1", "/dev/nvidia2"]
    await again.prune({"two"})
    assert await given(again, "three", app(1)) == ["/dev/nvidia0"]


async def test_a_device_that_went_away_is_replaced(tmp_path: Path) -> None:
    await given(Gpus(tmp_path / "gpus.json", THREE), "one", app(1))
    assert await given(Gpus(tmp_path / "gpus.json", THREE[1:]), "one", app(1)) == ["/dev/nvidia1"]


async def test_sidecars_have_their_own_and_init_containers_borrow(tmp_path: Path) -> None:
    side = Companion(name="side", image="x", resources=Resources(gpus=1))
    before = Companion(name="before", image="x", resources=Resources(gpus=3))
    spec = app(2, sidecars=(side,), init_containers=(before,))
    gpus = Gpus(tmp_path / "gpus.json", THREE)
    assert await given(gpus, "one", spec, before) == ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2"]
    assert await given(gpus, "one", spec) == ["/dev/nvidia0", "/dev/nvidia1"]
    assert await given(gpus, "one", spec, side) == ["/dev/nvidia2"]
