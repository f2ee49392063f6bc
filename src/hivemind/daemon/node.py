"""The node: everything put together. Opens the rooms from the ground up and closes them the other way round."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from hivemind.agent.agent import Agent
from hivemind.agent.notices.postman import Postman
from hivemind.agent.provision.contents import Contents
from hivemind.agent.provision.gpus import Gpus
from hivemind.agent.provision.scratch import Scratch
from hivemind.agent.relays import Relays
from hivemind.agent.triggers.files import FileTriggers
from hivemind.api.remote.remote import Remote
from hivemind.api.server import ApiServer
from hivemind.api.settings import ApiSettings
from hivemind.daemon import capacity
from hivemind.daemon.assembly import Machinery, assemble
from hivemind.daemon.backend import NodeBackend
from hivemind.daemon.boot import boot
from hivemind.daemon.herald import Herald
from hivemind.daemon.hive.cluster import Cluster
from hivemind.daemon.hive.contact import Contact
from hivemind.daemon.hive.order import etcd
from hivemind.daemon.hive.pace import agreement
from hivemind.daemon.images import NodeImages
from hivemind.daemon.job_herald import JobHerald
from hivemind.daemon.keyring import HiveKeyring, docker_config
from hivemind.daemon.keys import identity, vault
from hivemind.daemon.proclaimer import Proclaimer
from hivemind.daemon.sampler import Sampler
from hivemind.daemon.settings import Settings
from hivemind.daemon.systemd import machine_stops
from hivemind.daemon.volumes import NodeVolumes
from hivemind.drivers.dns.forwarder import Forwarder
from hivemind.drivers.dns.resolv_conf import ResolvConf
from hivemind.drivers.dns.server import NameServer
from hivemind.drivers.gpus import detect as detect_gpus
from hivemind.drivers.network.contract import Observant
from hivemind.errors import HivemindError
from hivemind.ledger.hive import HiveLedger
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.security.envelope import STRANGER, seal
from hivemind.security.identity import Identity
from hivemind.state.operations import (
    Operation,
    PutProject,
    RegisterNode,
    RegisterPrincipal,
    encode_operation,
)
from hivemind.state.principals import hive_of
from hivemind.state.state import Outcome
from hivemind.store.events import EventLog
from hivemind.store.shared import SharedStore

log = logging.getLogger(__name__)
_PATIENCE = 5.0
"""Seconds that a node which starts waits to hear what was agreed without it, before it goes on with what it knows."""
_TENTH = 10
"""One part in so many of the memory is left to the machine itself."""


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Node:
    """`start`, then `stop`. Containers do not notice either."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self.name = settings.node.node_name or capacity.node_name()
        self.data, self._run = Path(settings.node.data_dir), Path(settings.node.run_dir)
        self._open = asyncio.Event()
        """Cleared while nobody may have anything agreed: the node is between two hives."""
        self._open.set()
        self._machinery: asyncio.Future[Machinery] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Raises what stands in the way; whatever was opened until then is closed again."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """What runs here goes on, unless the whole machine stops; so the others are told that they may wait."""
        if not await machine_stops():
            await self.cluster.announce_restart()
        await self._stack.aclose()

    async def _start(self) -> None:
        started = clock()
        await self._open_ground()
        await self.cluster.start()
        machinery = await self._open_machinery()
        self._machinery.set_result(machinery)
        await self._be_known()
        images, volumes = self._keep_images(machinery), await self._keep_volumes(machinery)
        names = self._name_server()
        agent = await self._run_agent(machinery, volumes, names)
        problems = await self._answer_names(names, machinery)
        self.backend = NodeBackend(
            node=self.key.public,
            node_name=self.name,
            started=started,
            state=self.ledger.state,
            store=self.store,
            house=self,
            vault=self.vault,
            submit=self.submit,
            agent=agent,
            machinery=machinery,
            names=names,
            dns=f"127.0.0.1:{self._dns_port}" if self._dns_port else "",
            images=images,
            volumes=volumes,
            problems=(*machinery.problems, *problems),
            report=self.report,
            subscribe=self.ledger.subscribe,
            cluster=self.cluster,
            remote=self.remote,
        )
        self._tell_people()
        self._watch_files(volumes)
        await self._serve()
        self.cluster.go_on()
        log.info("node %s is ready", self.name)

    async def _open_ground(self) -> None:
        """Keys, what was agreed, what was seen."""
        for place in (self.data, self._run):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.key = identity(self.data / "node.key")
        self.administrator = identity(self.data / "admin.key")
        self.vault = vault(self.data / "hive.key")
        self.ledger = await HiveLedger.open(
            self.data / "ledger", hive=hive_of(self.administrator.public), signer=self.key, clock=clock,
            agreement=agreement(self._settings.cluster), etcd=etcd(self._settings.cluster),
        )  # fmt: skip
        self._on_stop(self.ledger.close)
        self.store = await SharedStore.open(
            self.data / "store.db", self.key, hive=self.ledger.state.hive, clock=clock
        )
        self._on_stop(self.store.close)
        self._events = EventLog(self.store, self.key.public, clock)
        proclaimer = Proclaimer(self.key.public, self.ledger.state, self._events, clock)
        self._stack.callback(proclaimer.close)
        for herald in (Herald, JobHerald):
            self._stack.callback(self.ledger.subscribe(herald(self.ledger.state, proclaimer).agreed))
        self._stack.callback(self.ledger.subscribe(proclaimer.agreed))
        self.remote = Remote(self.key.public, self.ledger.state)
        self.relays = Relays(self.key.public, self.ledger.state)
        self.cluster = Cluster(self, self._settings.cluster)
        self._on_stop(self.cluster.stop)

    async def _open_machinery(self) -> Machinery:
        machinery = await assemble(self._settings, self.key.public)
        for network in machinery.each_network():
            self._on_stop(network.close)
        for runtime in machinery.runtimes.values():
            self._on_stop(runtime.close)
        machinery.images.keyring = HiveKeyring(
            self.ledger.state, self.vault, docker_config(self._settings.image.docker_config)
        )
        machinery.images.unpacks = "oci" in machinery.runtimes
        return machinery

    def _keep_images(self, machinery: Machinery) -> NodeImages:
        settings = self._settings.image
        images = NodeImages(
            machinery.images, self.ledger.state, machinery.runtimes, self._events, self.name,
            budget=settings.image_budget, reserve=settings.disk_reserve,
        )  # fmt: skip
        images.start()
        self._on_stop(images.stop)
        return images

    async def _keep_volumes(self, machinery: Machinery) -> NodeVolumes:
        volumes = NodeVolumes(
            hive=self.ledger.state.hive, node=self.key.public, data=self.data, run=self._run, state=self.ledger.state,
            store=self.store, events=self._events, vault=self.vault, images=machinery.images,
            submit=self.report,
        )  # fmt: skip
        await volumes.start()
        self._on_stop(volumes.stop)
        self._stack.callback(self.ledger.subscribe(lambda batch: volumes.agreed()))
        return volumes

    async def _run_agent(self, machinery: Machinery, volumes: NodeVolumes, names: NameServer) -> Agent:
        """Returns once names and published ports lead to what runs already."""
        state, default = self.ledger.state, machinery.default
        contents = Contents(
            state, self.vault, self._run, lambda spec: default if spec.runtime == "auto" else spec.runtime
        )
        agent = Agent(
            node=self.key.public,
            node_name=self.name,
            state=state,
            store=self.store,
            events=self._events,
            runtimes=machinery.runtimes,
            networks=machinery.networks,
            submit=self.report,
            set_zone=names.set_zone,
            attempts=self.data / "attempts",
            artifact_limit=self._settings.task.artifact_limit,
            vault=self.vault,
            providers=(
                contents,
                Gpus(self.data / "gpus.json", detect_gpus()),
                Scratch(self.data / "scratch"),
                volumes.mounting,
            ),
            hearing=Contact(self.ledger, self.key.public, clock),
            relays=self.relays,
            boot=boot(self._run),
        )
        await agent.start()
        self._on_stop(agent.stop)
        self._stack.callback(self.ledger.subscribe(lambda batch: agent.agreed()))
        await agent.endpoints.settled()
        return agent

    def _tell_people(self) -> None:
        state = self.ledger.state
        postman = Postman(
            node=self.key.public, state=state, vault=self.vault, submit=self.report, events=self._events,
            clock=clock,
        )  # fmt: skip
        postman.start()
        self._on_stop(postman.stop)
        self._stack.callback(self.ledger.subscribe(lambda batch: postman.agreed(state.changes)))

    def _watch_files(self, volumes: NodeVolumes) -> None:
        state = self.ledger.state
        triggers = FileTriggers(
            node=self.key.public, node_name=self.name, state=state, home=self.data / "triggers",
            files_of=volumes.files_of, submit=self.report, events=self._events,
        )  # fmt: skip
        triggers.start()
        self._on_stop(triggers.stop)
        self._stack.callback(self.ledger.subscribe(lambda batch: triggers.agreed(state.changes)))
        self._stack.callback(self.store.subscribe("volume/", lambda entries: triggers.noticed()))

    async def _serve(self) -> None:
        sampler = Sampler(self.backend, self._settings.node.data_dir)
        sampler.start()
        self._stack.callback(sampler.stop)
        api = ApiServer(self.backend, self._api_settings())
        await api.start()
        self._on_stop(api.stop)

    def _on_stop(self, close: Callable[[], Awaitable[None]]) -> None:
        self._stack.push_async_callback(close)

    def clock(self) -> int:
        """Milliseconds since 1970."""
        return clock()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Inside, whoever wants something agreed waits."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    async def submit(self, operation: Operation, by: Identity, nonce: str = "") -> Outcome:
        """Signed for the hive that the node is of by then."""
        await self._open.wait()
        return await self._submit(operation, by, nonce)

    async def _submit(self, operation: Operation, by: Identity, nonce: str = "") -> Outcome:
        state = self.ledger.state
        who = state.principals.get(by.public)
        sealed = seal(
            by, state.hive, nonce or os.urandom(12).hex(), encode_operation(operation),
            since=who.since if who else STRANGER,
        )  # fmt: skip
        receipt = await self.ledger.submit(sealed)
        return receipt.outcome

    async def report(self, operation: Operation) -> Outcome:
        """A fact that this node tells the hive."""
        return await self.submit(operation, self.key)

    async def _be_known(self) -> None:
        """A node that is alone says at once what this machine offers today. In company that may have to wait for
        others, and the node must not: what runs goes on without them."""
        if self.cluster.belongs:
            await self.cluster.caught_up(_PATIENCE)
        else:
            await self.introduce()

    async def introduce(self, incarnation: int = 0, addresses: tuple[str, ...] = ()) -> None:
        """A new hive is founded; an old one learns what this machine offers today."""
        if self.ledger.state.hive_record is None:
            await self._found()
        settings, memory, machinery = self._settings.node, capacity.memory_total(), await self._machinery
        works = self.cluster.role != "witness"
        await self.submit(
            RegisterNode(
                id=self.key.public,
                name=self.name,
                cpus=(settings.cpus or capacity.cores()) if works else 0.0,
                memory=(settings.memory or memory - memory // _TENTH) if works else 0,
                gpus=len(detect_gpus()) if works else 0,
                arch=capacity.arch(),
                runtimes=tuple(machinery.runtimes) if works else (),
                labels=settings.labels,
                task_slots=self._settings.task.task_slots or capacity.task_slots(),
                executors=self._settings.task.executors,
                addresses=addresses,
                incarnation=incarnation,
            ),
            self.key,
        )

    async def _found(self) -> None:
        state, administrator = self.ledger.state, self.administrator
        if administrator.public not in state.principals:
            founder = Principal(id=administrator.public, name="admin", kind="person", role=Role.ADMIN)
            await self.submit(RegisterPrincipal(principal=founder), administrator)
        if self.key.public not in state.principals:
            itself = Principal(id=self.key.public, name=self.name, kind="node")
            await self.submit(RegisterPrincipal(principal=itself), administrator)
        if DEFAULT_PROJECT not in state.projects:
            await self.submit(PutProject(manifest=ProjectManifest(name=DEFAULT_PROJECT)), administrator)

    def _name_server(self) -> NameServer:
        upstream = self._settings.network.dns_upstream
        if upstream:
            server = NameServer(Forwarder(lambda: [(address, 53) for address in upstream]))
        else:
            server = NameServer(Forwarder(ResolvConf().upstreams))
        self._on_stop(server.close)
        return server

    async def _answer_names(self, server: NameServer, machinery: Machinery) -> list[str]:
        """What it could not do: a node without names is better than no node. Only once the names are known:
        an answer that a name does not exist would be remembered."""
        problems: list[str] = []
        self._dns_port = 0
        if port := self._settings.network.dns_port:
            try:
                self._dns_port = await server.listen("127.0.0.1", port)
            except HivemindError as error:
                problems.append(f"no names for this machine: {error.message}")
        for network in machinery.each_network():
            if isinstance(network, Observant):
                network.name_of = server.name_of
            if network.dns_address:
                try:
                    await server.listen(network.dns_address, 53)
                except HivemindError as error:
                    problems.append(f"no names for containers: {error.message}")
        for problem in problems:
            log.warning("%s", problem)
        return problems

    def _api_settings(self) -> ApiSettings:
        chosen = self._settings.api
        return ApiSettings(
            socket=chosen.socket,
            host=chosen.web_host,
            port=chosen.web_port or None,
            ws_port=chosen.ws_port or None,
            tls_cert=chosen.tls_cert,
            tls_key=chosen.tls_key,
        )
