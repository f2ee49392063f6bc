"""What containers get of configs and secrets, and that it goes again. As root in a tmpfs of its own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hive import Hive
from hivemind.agent.provision.contents import FILES, Contents
from hivemind.agent.provision.contract import Provision
from hivemind.drivers.memory import forget_memory, in_memory
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.secrets import public
from hivemind.errors import Corrupt, Invalid
from hivemind.model.content import Piece, sealing_context
from hivemind.model.mount import ConfigMount, SecretMount
from hivemind.model.template import EnvFrom
from hivemind.security.sealing import Vault
from hivemind.state.operations import PutContent

pytestmark = pytest.mark.anyio
VAULT = Vault(b"k" * 32)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Scene:
    """A hive with a secret `db` and a config `site`, and a node of it that runs everything with one runtime."""

    def __init__(self, run: Path, runtime: str = "oci") -> None:
        self.hive = Hive()
        self.run = run
        self.contents = Contents(self.hive.state, VAULT, run, lambda spec: runtime)
        self.secret(password=b"hunter2", user=b"ann")
        self.put("config", "site", {"motd": Piece(value=b"hello\n"), "logo": Piece(value=b"\xff\x00")})

    def put(self, kind: Any, name: str, data: dict[str, Piece]) -> None:
        self.hive.do(PutContent(kind=kind, project="default", name=name, data=data))

    def secret(self, vault: Vault = VAULT, **values: bytes) -> None:
        data = {}
        for key, value in values.items():
            context = sealing_context("default", "db", key)
            data[key] = Piece(
                value=vault.seal(value, context, os.urandom(24)), digest=vault.digest(value, context)
            )
        self.put("secret", "db", data)

    async def provide(self, user: str = "", **spec: Any) -> Provision:
        self.hive.deploy(**spec)
        newest = max(self.hive.allocations(), key=lambda a: a.attempt)
        template = self.hive.state.spec_of(newest)
        return await self.contents.provide(newest, template, template, user)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    forget_memory(tmp_path / "contents")


async def test_files_lie_in_memory_for_their_owner_alone_and_go_again(run: Path) -> None:
    scene = Scene(run)
    given = await scene.provide(
        mounts=(
            SecretMount(source="db", target="/run/db"),
            SecretMount(source="db", target="/pw", key="password", mode=0o440),
            ConfigMount(source="site", target="/etc/site"),
        )
    )
    whole, single, site = given.mounts
    assert (whole.readonly, whole.owned, site.owned) == (True, True, False)
    assert in_memory(Path(whole.source)) and stat.S_IMODE((run / "contents").stat().st_mode) == 0o700
    assert {p.name: p.read_bytes() for p in Path(whole.source).iterdir()} == {
        "password": b"hunter2",
        "user": b"ann",
    }
    assert stat.S_IMODE((Path(whole.source) / "user").stat().st_mode) == 0o400
    assert Path(single.source).read_bytes() == b"hunter2"
    assert stat.S_IMODE(Path(single.source).stat().st_mode) == 0o440
    assert (Path(site.source) / "logo").read_bytes() == b"\xff\x00"
    [allocation] = scene.hive.allocations()
    again = await scene.contents.provide(allocation, scene.hive.state.spec_of(allocation),
                                         scene.hive.state.spec_of(allocation), "")  # fmt: skip
    assert again == given, "what is there is found"
    await scene.contents.prune({allocation.id})
    assert Path(whole.source).exists()
    await scene.contents.release(allocation.id)
    await scene.contents.release(allocation.id)
    assert list((run / "contents").iterdir()) == []


async def test_a_revision_sees_what_it_pins(run: Path) -> None:
    scene = Scene(run)
    scene.hive.deploy(env_from=(EnvFrom(secret="db", key="password", name="PW"),))
    scene.hive.settle()
    scene.secret(password=b"second")
    state = scene.hive.state
    found = {}
    for allocation in scene.hive.allocations():
        spec = state.spec_of(allocation)
        found[allocation.revision] = (await scene.contents.provide(allocation, spec, spec, "")).secret_env
    assert found == {1: {"PW": "hunter2"}, 2: {"PW": "second"}}


async def test_variables_later_ones_count_and_secrets_stay_secret(run: Path) -> None:
    scene = Scene(run)
    given = await scene.provide(
        env_from=(
            EnvFrom(config="site", key="motd", name="password"),
            EnvFrom(secret="db"),
            EnvFrom(secret="db", prefix="DB_"),
            EnvFrom(config="site", key="motd", name="DB_user"),
        )
    )
    assert given.env == {"DB_user": "hello\n"}
    assert given.secret_env == {"password": "hunter2", "user": "ann", "DB_password": "hunter2"}
    written = public(ContainerSpec(id="a.0", args=("x",), secret_env=given.secret_env))
    assert written.secret_env == {}


async def test_what_cannot_be_a_variable_says_so(run: Path) -> None:
    scene = Scene(run)
    with pytest.raises(Invalid, match="'logo' of config site is not text"):
        await scene.provide(env_from=(EnvFrom(config="site"),))


async def test_what_another_key_sealed_is_not_opened(run: Path) -> None:
    scene = Scene(run)
    scene.secret(Vault(b"x" * 32), password=b"hunter2")
    with pytest.raises(Corrupt, match="secret/default/db/password cannot be opened"):
        await scene.provide(env_from=(EnvFrom(secret="db"),))


async def test_plain_processes_find_the_same_files_below_one_directory(run: Path) -> None:
    given = await Scene(run, "process").provide(
        user="12345:54321",
        mounts=(
            SecretMount(source="db", target="/etc/db"),
            ConfigMount(source="site", target="/etc/motd", key="motd"),
        ),
    )
    assert given.mounts == ()
    top = Path(given.env[FILES])
    assert (top / "etc/db/password").read_bytes() == b"hunter2" and (
        top / "etc/motd"
    ).read_text() == "hello\n"
    found = (top / "etc/db/password").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o400)
    for folder in (top, top / "etc", top / "etc/db"):
        # Not to be written by that user: the daemon would follow a link there when the process starts again.
        found = folder.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 54321, 0o750)


@pytest.mark.parametrize(
    ("user", "owner", "mode"), [("1000:1001", (1000, 1001), 0o400), ("app", (0, 0), 0o444)]
)
async def test_an_engine_that_looks_users_up_itself_gets_what_they_can_read(
    run: Path, user: str, owner: tuple[int, int], mode: int
) -> None:
    given = await Scene(run, "docker").provide(user=user, mounts=(SecretMount(source="db", target="/db"),))
    found = (Path(given.mounts[0].source) / "user").stat()
    assert ((found.st_uid, found.st_gid), stat.S_IMODE(found.st_mode)) == (owner, mode)
