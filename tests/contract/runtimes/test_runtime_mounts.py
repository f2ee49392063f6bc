"""What a container is given: secret variables, files made for it alone, volumes with owners of their own."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, LogQuery, Mount, Runtime

if TYPE_CHECKING:
    from tests.contract.runtimes.conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.without("fake")]
contained = pytest.mark.without("fake", "process")
WORD = "word of mouth 7f3a"


async def output(runtime: Runtime, spec: ContainerSpec) -> list[str]:
    """What it printed until it ended."""
    await runtime.create(spec)
    await runtime.start(spec.id)
    async with asyncio.timeout(30):
        await runtime.wait(spec.id)
        return [line.text async for line in runtime.logs(spec.id, LogQuery(follow=True))]


async def test_secret_variables_are_there_and_on_no_disk(
    bench: Bench, runtime: Runtime, tmp_path: Path
) -> None:
    """An engine has records of its own, which are not ours to keep clean; what we write ourselves is."""
    spec = bench.spec("while :; do sleep 0.05; done", env={"OPEN": "yes"}, secret_env={"KEY": WORD})
    await runtime.create(spec)
    await runtime.start(spec.id)
    again = await bench.open()
    for daemon in (runtime, again):
        session = await daemon.exec(spec.id, ExecSpec(args=("sh", "-c", "echo $KEY, $OPEN")))
        async with asyncio.timeout(20):
            assert await session.read() == ("stdout", f"{WORD}, yes\n".encode())
        await session.close()
    told = [path for path in files_on_disk(tmp_path) if WORD.encode() in path.read_bytes()]
    assert told == []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert WORD.encode() not in command.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    await again.remove(spec.id)
    kept = (tmp_path / "run").resolve()
    assert not [path for path in files_on_disk(kept) if WORD.encode() in path.read_bytes()]


def files_on_disk(top: Path) -> Iterator[Path]:
    """Regular files alone: reading a pipe would wait, links go where no disk is, pins of namespaces hold nothing."""
    for base, _, names in os.walk(top):
        for path in (Path(base, name) for name in names):
            if path.is_file() and not path.is_symlink() and not os.path.ismount(path):
                yield path


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """What the daemon makes for one container alone: readable for its owner and nobody else."""
    made = tmp_path / "given"
    made.mkdir(mode=0o500)
    (made / "key").write_text("sesame\n")
    (made / "key").chmod(0o400)
    return made


@contained
@pytest.mark.parametrize("user", ["", "1234:77", "redis"])
async def test_files_made_for_it_alone_are_its_users(
    bench: Bench, runtime: Runtime, given: Path, user: str
) -> None:
    mount = Mount(target="/run/secrets", source=str(given), readonly=True, owned=True)
    script = "cat /run/secrets/key; stat -c %u /run/secrets/key; (: > /run/secrets/key) || echo refused"
    said = await output(runtime, bench.spec(f"{{ {script}; }} 2> /dev/null", user=user, mounts=(mount,)))
    uid = {"": "0", "1234:77": "1234", "redis": "100"}[user]
    assert said == ["sesame", uid, "refused"]


@contained
async def test_a_volume_keeps_who_owns_what(bench: Bench, runtime: Runtime) -> None:
    """By the numbers on disk, whatever users the container has."""
    with tempfile.TemporaryDirectory(prefix="hivemind-contract-") as volume:
        old = Path(volume, "old")
        old.write_text("of 70\n")
        old.chmod(0o600)
        os.chown(old, 70, 71)
        mounts = (Mount(target="/data", source=volume, idmap=True),)
        script = "stat -c %u:%g /data/old; cat /data/old; touch /data/new; chown 5:6 /data/new"
        assert await output(runtime, bench.spec(script, mounts=mounts)) == ["70:71", "of 70"]
        made = Path(volume, "new").stat()
        assert (made.st_uid, made.st_gid) == (5, 6)
