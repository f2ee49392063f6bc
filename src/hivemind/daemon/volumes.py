"""The node's volumes put together: drivers, what looks after them, what containers get, backups, what the API asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from hivemind.agent.provision.backups import Backups
from hivemind.agent.provision.mounting import Images, Mounting
from hivemind.agent.provision.volumes import Volumes
from hivemind.drivers.volumes.contract import VolumeDriver
from hivemind.drivers.volumes.local import LocalDriver
from hivemind.drivers.volumes.nfs import NfsDriver
from hivemind.errors import Conflict, NotFound
from hivemind.model.backup import Backup, BackupTarget
from hivemind.model.content import sealing_context
from hivemind.model.volume import BackupPolicy, BackupResult, Volume
from hivemind.security.sealing import Vault
from hivemind.state.operations import ReportVolumes
from hivemind.state.state import Outcome, State, bundle_key, content_key
from hivemind.store.contract import Store
from hivemind.store.events import EventLog


def volume_drivers(data: Path, node: str) -> dict[str, VolumeDriver]:
    """Not yet open."""
    home = data / "volumes"
    return {"local": LocalDriver(home / "local"), "nfs": NfsDriver(home / "nfs", node)}


class NodeVolumes:
    """`start`, then `agreed` after each batch, then `stop`. Answers the API as a `VolumeDesk`."""

    def __init__(
        self,
        *,
        hive: str,
        node: str,
        data: Path,
        run: Path,
        state: State,
        store: Store,
        events: EventLog,
        vault: Vault,
        images: Images,
        submit: Callable[[ReportVolumes], Awaitable[Outcome]],
    ) -> None:
        self._state = state
        self._vault = vault
        self._home = data / "volumes"
        self.volumes = Volumes(
            node=node,
            state=state,
            store=store,
            events=events,
            drivers=volume_drivers(data, node),
            submit=submit,
        )
        self.mounting = Mounting(self.volumes, images, run)
        self._backups = Backups(self.volumes, self._secret, hive, self._home / "backups")

    async def start(self) -> None:
        self._home.mkdir(exist_ok=True, mode=0o700)
        await self.volumes.start()
        self._backups.start()

    async def stop(self) -> None:
        await self.volumes.stop()

    def agreed(self) -> None:
        self.volumes.agreed()
        self._backups.agreed()

    def files_of(self, volume: Volume) -> str:
        """Where they are on this node; empty while it is not ready here."""
        seen = self.volumes.status(volume)
        return seen.path if seen.phase == "ready" else ""

    def _secret(self, project: str, name: str) -> dict[str, bytes]:
        bundle = self._state.bundles.get(bundle_key("secret", project, name))
        if bundle is None:
            raise NotFound(
                f"there is no secret {name!r} in project {project!r}",
                hint=f"hivemind secret create {name} --from-literal password=…",
            )
        content = self._state.contents[content_key("secret", project, name, bundle.number)]
        return {
            key: self._vault.open(piece.value, sealing_context(project, name, key))
            for key, piece in content.data.items()
        }

    # -- what the API asks -----------------------------------------------------------------------------------

    def export(self, volume: Volume) -> AsyncIterator[bytes]:
        from hivemind.agent.provision import volume_files

        self._must_be_here(volume)
        return volume_files.export(self.volumes, volume)

    async def bring(self, volume: Volume, chunks: AsyncIterator[bytes], *, replace: bool) -> None:
        from hivemind.agent.provision import volume_files

        self._must_be_here(volume)
        await volume_files.bring(self.volumes, volume, chunks, replace=replace)

    async def back_up(
        self, volume: Volume, policy: BackupPolicy, heard: Callable[[float], None], *, verify: bool
    ) -> BackupResult:
        self._must_be_here(volume)
        return await self._backups.back_up(volume, policy, heard, verify=verify)

    async def backups(self, target: BackupTarget, volume: str) -> list[Backup]:
        return await self._backups.list(target, volume)

    def _must_be_here(self, volume: Volume) -> None:
        if volume.node == self.volumes.node:
            return
        if not volume.node:
            raise Conflict(
                f"volume {volume.name!r} is on no node yet", hint="use it first, or create it with --node"
            )
        node = self._state.nodes.get(volume.node)
        raise Conflict(
            f"volume {volume.name!r} is on node {node.name if node else volume.node[:12]}",
            hint="ask that node: hivemind --host …",
        )


async def destroy_volumes(data: Path, run: Path, node: str) -> None:
    """Every volume of the node, and whatever is mounted for them."""
    from hivemind.agent.provision.mounting import forget_places

    forget_places(run)
    for driver in volume_drivers(data, node).values():
        await driver.destroy()
