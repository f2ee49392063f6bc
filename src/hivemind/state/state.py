"""State: what the hive agreed, and the one pure function that changes it.

Every node applies the same batches in the same order and gets the same state, the same outcomes, the same
digest. There is no clock here but the batch's, no dice, and nothing depends on the order of a hash table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from hivemind.deployments.slots import Slots
from hivemind.errors import Forbidden, HivemindError, from_code
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.app import App, AppSpec
from hivemind.model.backup import BackupTarget
from hivemind.model.base import Record, decode, encode
from hivemind.model.circuit import CircuitRecord
from hivemind.model.content import Bundle, Content
from hivemind.model.deployment import Deployment, DeploymentState
from hivemind.model.hive import Accusation, Epoch, Expulsion, Hive, JoinToken, Term
from hivemind.model.image_registry import ImageRegistry
from hivemind.model.job import Definition, Job, JobSpec
from hivemind.model.names import derive_id
from hivemind.model.node import Node
from hivemind.model.notice import Notice
from hivemind.model.principal import Principal
from hivemind.model.project import Project
from hivemind.model.queue import PausedQueue, RecentStart
from hivemind.model.revision import Revision
from hivemind.model.routine import LibraryRoutine
from hivemind.model.run import Items, Run, TaskRun
from hivemind.model.snapshot import Snapshot as VolumeSnapshot
from hivemind.model.storage import StorageClass
from hivemind.model.volume import Discarded, Volume, volume_mounts
from hivemind.scheduler.contract import Use
from hivemind.state.deadlines import Deadlines
from hivemind.state.hive_index import HiveIndex
from hivemind.state.jobs.index import WorkIndex
from hivemind.state.jobs.specs import attempt_lane, attempt_spec
from hivemind.state.multimap import add, drop
from hivemind.state.operations import Operation
from hivemind.state.tables import Change, Table, Tables

_REPLIES_KEPT = 256
"""Outcomes remembered for each signer, so that a repeated operation is answered and not done again."""


class Signed(msgspec.Struct, frozen=True):
    """An operation whose signature was checked."""

    signer: str
    nonce: str
    operation: Operation
    since: int = 0
    """See `security.envelope`."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one operation: `code` is empty when it was accepted."""

    code: str = ""
    message: str = ""
    """Why it was refused; of what was accepted, what its author has to know."""
    hint: str = ""
    id: str = ""
    """Id of the object it made or changed."""
    deployment: str = ""
    version: int = 0

    def raise_for_error(self) -> None:
        if self.code:
            raise from_code(self.code, self.message, self.hint)


_OUTDATED = Outcome(
    code=Forbidden.code,
    message="this was signed before its signer was let in, or let in again",
    hint="ask again: the same wish, signed now, counts",
)


class Reply(Record, frozen=True, kw_only=True):
    """An outcome as it is remembered; `serial` orders the replies of one signer."""

    signer: str
    nonce: str
    serial: int
    outcome: Outcome


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    hive: str
    sequence: int
    time: int
    serial: int
    tables: dict[str, dict[str, msgspec.Raw]]


class Picture(NamedTuple):
    """What a snapshot is made of. Taking it costs little, encoding it much."""

    hive: str
    sequence: int
    time: int
    serial: int
    tables: dict[str, dict[str, Any]]

    def encode(self) -> bytes:
        """Record by record, so that other threads get their turn in between."""
        rows = {
            name: {key: msgspec.Raw(encode(records[key])) for key in sorted(records)}
            for name, records in self.tables.items()
        }
        return encode(
            Snapshot(
                format=1,
                hive=self.hive,
                sequence=self.sequence,
                time=self.time,
                serial=self.serial,
                tables=rows,
            )
        )


class State:
    """All tables, their indexes, and `apply`. Read the tables freely; only `apply` writes them."""

    def __init__(self, hive: str) -> None:
        self.hive = hive
        """Id of the hive; part of every signature."""
        self.sequence = 0
        self.time = 0
        """Milliseconds since 1970 of the last batch."""
        self.before_permissions = False
        """While it replays what was agreed when projects had none: that stays, and only what comes later is asked."""
        self.apps: Table[App] = Table("apps", App)
        self.revisions: Table[Revision] = Table("revisions", Revision)
        self.deployments: Table[Deployment] = Table("deployments", Deployment)
        self.allocations: Table[Allocation] = Table("allocations", Allocation)
        self.nodes: Table[Node] = Table("nodes", Node)
        self.projects: Table[Project] = Table("projects", Project)
        self.principals: Table[Principal] = Table("principals", Principal)
        self.bundles: Table[Bundle] = Table("bundles", Bundle)
        self.contents: Table[Content] = Table("contents", Content)
        self.registries: Table[ImageRegistry] = Table("registries", ImageRegistry)
        self.replies: Table[Reply] = Table("replies", Reply)
        self.volumes: Table[Volume] = Table("volumes", Volume)
        self.snapshots: Table[VolumeSnapshot] = Table("snapshots", VolumeSnapshot)
        self.discarded: Table[Discarded] = Table("discarded", Discarded)
        self.storage_classes: Table[StorageClass] = Table("storage_classes", StorageClass)
        self.backup_targets: Table[BackupTarget] = Table("backup_targets", BackupTarget)
        """Volumes, snapshots and backup targets by `<project>/<name>`."""
        self.jobs: Table[Job] = Table("jobs", Job)
        self.definitions: Table[Definition] = Table("definitions", Definition)
        """By `<job>/<number>`, see `definition_key`."""
        self.runs: Table[Run] = Table("runs", Run)
        self.task_runs: Table[TaskRun] = Table("task_runs", TaskRun)
        self.items: Table[Items] = Table("items", Items)
        """Task runs, and the items of fan-outs, by `<run>/<path>`."""
        self.routines: Table[LibraryRoutine] = Table("routines", LibraryRoutine)
        self.circuits: Table[CircuitRecord] = Table("circuits", CircuitRecord)
        self.queues: Table[PausedQueue] = Table("queues", PausedQueue)
        """Routines, circuits and paused queues by `<project>/<name>`."""
        self.starts: Table[RecentStart] = Table("starts", RecentStart)
        self.notices: Table[Notice] = Table("notices", Notice)
        self.hives: Table[Hive] = Table("hives", Hive)
        self.terms: Table[Term] = Table("terms", Term)
        self.join_tokens: Table[JoinToken] = Table("join_tokens", JoinToken)
        self.accusations: Table[Accusation] = Table("accusations", Accusation)
        self.expulsions: Table[Expulsion] = Table("expulsions", Expulsion)
        self.about = HiveIndex()
        """What is derived from the records of nodes and of the hive."""
        self.deadlines = Deadlines()
        """When (ms) an app's strategy, a run, a task, a schedule and so on want to be looked at again."""
        self.work = WorkIndex(self.deadlines)
        """What is derived from the records of jobs and runs."""
        self._names: dict[tuple[str, str], str] = {}
        self._by_app: dict[str, dict[int, set[str]]] = {}
        self._slots: dict[str, Slots] = {}
        self._used: dict[str, Counter[int]] = {}
        self._by_node: dict[str, set[str]] = {}
        self._by_signer: dict[str, list[str]] = {}
        self._running: dict[str, str] = {}
        self._deployments: dict[str, set[str]] = {}
        self._revisions: dict[str, set[str]] = {}
        self._pinned: dict[str, set[str]] = {}
        self._pinned_at: dict[str, set[str]] = {}
        self._mounting: dict[str, set[str]] = {}
        self._needing: dict[str, set[str]] = {}
        self._numbers: dict[str, set[int]] = {}
        self._uses: dict[str, Use] = {}
        self.pending: set[str] = set()
        """Ids of the allocations that wait for a place."""
        self.serial = 0
        self.tables = Tables(
            [
                self.apps, self.revisions, self.deployments, self.allocations,
                self.nodes, self.projects, self.principals, self.registries, self.replies, self.bundles, self.contents,
                self.volumes, self.snapshots, self.discarded, self.storage_classes, self.backup_targets,
                self.jobs, self.definitions, self.runs, self.task_runs, self.items, self.routines, self.circuits,
                self.queues, self.notices, self.starts,
                self.hives, self.terms, self.join_tokens, self.accusations, self.expulsions,
            ],
            self._reindex,
        )  # fmt: skip
        self.dirty: set[str] = set()
        """Ids of apps to reconcile in this batch."""

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def hive_record(self) -> Hive | None:
        """None as long as the node is alone."""
        return self.hives.get(self.hive)

    @property
    def voters(self) -> tuple[str, ...]:
        """Ids of the nodes that decide now; none as long as the one node decides alone."""
        hive = self.hive_record
        return hive.epoch.voters if hive else ()

    def epoch_at(self, sequence: int) -> Epoch | None:
        """The one that decides that sequence, which may still be to come. None: nobody knows any more, or yet."""
        hive = self.hive_record
        if hive is None:
            return None
        known = [term.epoch for term in self.terms.values()] + ([hive.next] if hive.next else [])
        return max((e for e in known if e.since <= sequence), key=lambda e: e.since, default=None)

    def find_job(self, project: str, name: str) -> Job | None:
        found = self.work.job_id(project, name)
        return self.jobs[found] if found else None

    def definition(self, job: str, number: int) -> Definition:
        return self.definitions[definition_key(job, number)]

    def job_spec(self, job: Job) -> JobSpec:
        """What the job is by now: of its newest definition."""
        return self.definition(job.id, job.number).spec

    def definition_of(self, run: Run) -> Definition:
        """The one that the run began with."""
        return self.definition(run.job, run.definition)

    def find_app(self, project: str, name: str) -> App | None:
        found = self._names.get((project, name))
        return self.apps[found] if found else None

    def allocations_of(self, app: str) -> list[Allocation]:
        """Ended ones too, by slot and attempt."""
        found = []
        for index in sorted(self._by_app.get(app, ())):
            found += self.allocations_in(app, index)
        return found

    def allocations_in(self, app: str, slot: int) -> list[Allocation]:
        """Of one slot; ended ones too, by attempt."""
        mine = [self.allocations[id] for id in self._by_app.get(app, {}).get(slot, ())]
        return sorted(mine, key=lambda a: a.attempt) if len(mine) > 1 else mine

    def allocations_beyond(self, app: str, count: int) -> list[Allocation]:
        """Of the slots from that number on."""
        beyond = sorted(index for index in self._by_app.get(app, ()) if index >= count)
        return [a for index in beyond for a in self.allocations_in(app, index)]

    def revisions_in_use(self, app: str) -> set[int]:
        """Those of allocations that are still kept."""
        return {number for number, count in self._used.get(app, {}).items() if count}

    def slots_of(self, app: str) -> Slots:
        """What the planning of its updates remembers."""
        return self._slots.setdefault(app, Slots())

    def allocations_on(self, node: str) -> list[Allocation]:
        return [self.allocations[id] for id in sorted(self._by_node.get(node, ()))]

    def spec_of(self, allocation: Allocation) -> AppSpec:
        """What it is to be: of an attempt of a task, as far as its place is concerned."""
        if allocation.for_job:
            return attempt_spec(self, allocation)
        return self.revision(allocation.app, allocation.revision).spec

    def revision(self, app: str, number: int) -> Revision:
        return self.revisions[revision_key(app, number)]

    def revisions_of(self, app: App) -> list[Revision]:
        """Those still kept, oldest first."""
        return [self.revisions[key] for key in sorted(self._revisions.get(app.id, ()))]

    def deployments_of(self, app: str) -> list[Deployment]:
        """Those still kept, oldest first."""
        mine = [self.deployments[id] for id in self._deployments.get(app, ())]
        return sorted(mine, key=lambda d: d.target)

    def pinned_by(self, pin: str) -> list[str]:
        """Keys of the revisions, of any project, that use a content of that name (`secret/db`)."""
        return sorted(self._pinned.get(pin, ()))

    def pinned_at(self, pin: str, number: int) -> Iterator[Revision]:
        """Revisions, of any project, that use the content of that name and number."""
        return (self.revisions[key] for key in self._pinned_at.get(f"{pin}/{number}", ()))

    def mounting(self, source: str) -> list[Revision]:
        """Revisions, of any project and still kept, with a mount of that volume, or of one for each replica."""
        return [self.revisions[key] for key in sorted(self._mounting.get(source, ()))]

    def needing(self, name: str) -> Iterator[Revision]:
        """Revisions, of any project and still kept, that depend on an app of that name."""
        return (self.revisions[key] for key in self._needing.get(name, ()))

    def wanting(self, revision: Revision, project: str) -> App | None:
        """The app of that project, if this is the revision that shall run of it."""
        app = self.apps.get(revision.app)
        wanted = app and not app.deleted and app.project == project and app.revision == revision.number
        return app if wanted else None

    def content_numbers(self, kind: str, project: str, name: str) -> list[int]:
        """Those still kept, oldest first."""
        return sorted(self._numbers.get(bundle_key(kind, project, name), ()))

    def content(self, allocation: Allocation, pin: str) -> Content:
        """What the revision of that allocation uses of that name (`secret/db`); attempts of tasks use the newest.

        Raises `KeyError` when that is gone."""
        kind, _, name = pin.partition("/")
        if allocation.for_job:
            newest = self.bundles[bundle_key(kind, allocation.project, name)].number
            return self.contents[content_key(kind, allocation.project, name, newest)]
        number = self.revision(allocation.app, allocation.revision).pins[pin]
        return self.contents[content_key(kind, allocation.project, name, number)]

    def deployment_of(self, app: App) -> Deployment | None:
        """The one that brings, or brought, the revision that shall run, unless it is forgotten."""
        return self.deployments.get(deployment_id(app.id, app.revision))

    def running_deployment(self, app: str) -> Deployment | None:
        found = self._running.get(app)
        return self.deployments[found] if found else None

    def replies_of(self, signer: str) -> list[str]:
        """Keys, oldest first."""
        return list(self._by_signer.get(signer, ()))

    def uses(self) -> dict[str, Use]:
        """What is set aside on every node; computed again only where something changed."""
        for node in self.nodes:
            if node not in self._uses:
                self._uses[node] = self._use_of(node)
        return {node: self._uses[node] for node in self.nodes}

    def _use_of(self, node: str) -> Use:
        cpus, memory, gpus, tasks = 0.0, 0, 0, 0
        apps: dict[str, int] = {}
        ports: dict[str, str] = {}
        for allocation in self.allocations_on(node):
            if allocation.for_job:
                lane = attempt_lane(self, allocation)
                cpus += lane.cpus
                memory += lane.memory
                gpus += lane.gpus
                tasks += 1
                apps[allocation.id] = 1
            elif allocation.live:
                spec = self.spec_of(allocation)
                reserved = spec.reserved
                cpus += reserved.cpus
                memory += reserved.memory
                gpus += reserved.gpus
                apps[allocation.app] = apps.get(allocation.app, 0) + 1
                ports |= dict.fromkeys(spec.node_ports, allocation.app)
        return Use(cpus=round(cpus, 6), memory=memory, gpus=gpus, tasks=tasks, apps=apps, ports=ports)

    # -- changing --------------------------------------------------------------------------------------------

    def apply(self, sequence: int, time: int, operations: Sequence[Signed]) -> list[Outcome]:
        """One agreed batch. Never raises for a bad operation: its outcome says why it was refused.

        Afterwards `changes` holds what this batch changed."""
        from hivemind.state import voters
        from hivemind.state.reconcile import reconcile

        if sequence != self.sequence + 1 or time < self.time:
            raise AssertionError(
                f"batch {sequence} at {time} cannot follow batch {self.sequence} at {self.time}"
            )
        self.sequence, self.time = sequence, time
        self.tables.log.clear()
        voters.begin(self)
        outcomes = [self._perform(signed) for signed in operations]
        reconcile(self, self.deadlines.passed(time))
        return outcomes

    @property
    def changes(self) -> Sequence[Change]:
        return self.tables.log

    def _perform(self, signed: Signed) -> Outcome:
        from hivemind.state.handlers import handle

        key = f"{signed.signer}/{signed.nonce}"
        if key in self.replies:
            return self.replies[key].outcome
        if not self._of_this_life(signed):
            return _OUTDATED
        mark = len(self.tables.log)
        dirty = set(self.dirty)
        try:
            outcome = handle(self, signed.operation, signed.signer)
        except HivemindError as error:
            outcome = Outcome(code=error.code, message=error.message, hint=error.hint)
        except (MemoryError, RecursionError):
            raise  # this machine's trouble: others may manage
        except Exception as error:
            # A defect: every node has it, at every replay. Were it no refusal, the hive would stand still for ever.
            outcome = _defect(signed.operation, error)
        if outcome.code:
            self.tables.undo(mark)
            self.dirty = dirty
        self._remember(key, signed, outcome)
        return outcome

    def _of_this_life(self, signed: Signed) -> bool:
        """What a signer signed before it was let in, or before it was let in again, was refused, or was done and is
        forgotten: whoever kept it could bring it up once more. It leaves no trace, as what strangers sign: else that
        would drive out what is remembered of its signer."""
        who = self.principals.get(signed.signer)
        return who is None or not signed.since or signed.since == who.since

    def _remember(self, key: str, signed: Signed, outcome: Outcome) -> None:
        """Strangers leave no trace: they could fill the memory with refusals."""
        if signed.signer not in self.principals:
            return
        self.serial += 1
        reply = Reply(signer=signed.signer, nonce=signed.nonce, serial=self.serial, outcome=outcome)
        self.tables.put(self.replies, key, reply)
        mine = self._by_signer[signed.signer]
        if len(mine) > _REPLIES_KEPT:
            self.tables.remove(self.replies, mine[0])

    def deadline(self) -> int | None:
        """When (ms) the next timer wants a batch, even an empty one."""
        return self.deadlines.first()

    # -- digest, snapshot ------------------------------------------------------------------------------------

    def digest(self) -> bytes:
        """BLAKE2b-256 over everything; costs only what changed since the last call."""
        return self.tables.digest()

    def snapshot(self) -> bytes:
        return self.picture().encode()

    def picture(self) -> Picture:
        """All of it as it is now, to be encoded whenever and in whatever thread: records never change."""
        return Picture(self.hive, self.sequence, self.time, self.serial, self.tables.copies())

    @classmethod
    def restore(cls, snapshot: bytes) -> State:
        from hivemind.state.jobs.advance import recall_work
        from hivemind.state.reconcile import recall_deadlines

        saved = decode(snapshot, Snapshot)
        state = cls(saved.hive)
        state.sequence, state.time, state.serial = saved.sequence, saved.time, saved.serial
        state.tables.load(saved.tables)
        state._settle_replies()
        recall_deadlines(state)
        recall_work(state)
        return state

    def fork(self) -> State:
        """An independent copy, to try things on."""
        other = State(self.hive)
        other.sequence, other.time, other.serial = self.sequence, self.time, self.serial
        self.tables.copy_to(other.tables)
        other._settle_replies()
        other.deadlines.take(self.deadlines)
        other.work.settled()
        return other

    def take_over(self, snapshot: bytes) -> None:
        """Becomes, in place, what `snapshot` holds: hive, sequence and time too. Whoever holds this state or one of
        its tables goes on with it; afterwards `changes` holds every record that differs. Raises what `restore` does,
        and then nothing has changed."""
        self.succeed(type(self).restore(snapshot))

    def succeed(self, other: State) -> None:
        """The same with a state that was restored already, maybe in another thread. It is used up."""
        self.tables.take(other.tables)
        for name, value in vars(other).items():
            if not isinstance(value, Table | Tables):
                setattr(self, name, value)

    def _settle_replies(self) -> None:
        """Loading goes by key; replies are forgotten by age."""
        for keys in self._by_signer.values():
            keys.sort(key=lambda key: self.replies[key].serial)

    # -- indexes ---------------------------------------------------------------------------------------------

    def _reindex(self, change: Change) -> None:
        self.work.reindex(change)
        self.about.reindex(change)
        if change.table == "apps":
            self._reindex_app(change.old, change.new)
        elif change.table == "allocations":
            self._reindex_allocation(change.old, change.new)
        elif change.table == "deployments":
            self._reindex_deployment(change.old, change.new)
        elif change.table == "revisions":
            self._reindex_revision(change.key, change.old, change.new)
        elif change.table == "contents":
            self._reindex_content(change.old, change.new)
        elif change.table == "replies":
            if change.new is None:
                self._by_signer[change.old.signer].remove(change.key)
            else:
                self._by_signer.setdefault(change.new.signer, []).append(change.key)

    def _reindex_app(self, old: App | None, new: App | None) -> None:
        if new is None and old:
            self._slots.pop(old.id, None)
            self._used.pop(old.id, None)
        if old and not old.deleted:
            self._names.pop((old.project, old.name), None)
        if new and not new.deleted:
            self._names[new.project, new.name] = new.id

    def _reindex_allocation(self, old: Allocation | None, new: Allocation | None) -> None:
        if old:
            drop(self._by_node, old.node, old.id)
            self._uses.pop(old.node, None)
        if new:
            self._uses.pop(new.node, None)
            if new.node:
                add(self._by_node, new.node, new.id)
        changed = new or old
        if changed and not changed.for_job:
            self._reindex_replica(old, new)

    def _reindex_replica(self, old: Allocation | None, new: Allocation | None) -> None:
        if old:
            self._drop_from_slot(old)
            self._used[old.app][old.revision] -= 1
            self.pending.discard(old.id)
        if new:
            if new.state is AllocationState.PENDING:
                self.pending.add(new.id)
            self._used.setdefault(new.app, Counter())[new.revision] += 1
            self._by_app.setdefault(new.app, {}).setdefault(new.slot, set()).add(new.id)

        changed = new or old
        if changed and changed.app in self._slots:
            self._slots[changed.app].touch(changed.slot)

    def _drop_from_slot(self, old: Allocation) -> None:
        slots = self._by_app[old.app]
        slots[old.slot].discard(old.id)
        if not slots[old.slot]:
            del slots[old.slot]
        if not slots:
            del self._by_app[old.app]

    def _reindex_deployment(self, old: Deployment | None, new: Deployment | None) -> None:
        if old:
            drop(self._deployments, old.app, old.id)
            if self._running.get(old.app) == old.id:
                del self._running[old.app]
        if new:
            add(self._deployments, new.app, new.id)
            if new.state is DeploymentState.RUNNING:
                self._running[new.app] = new.id

    def _reindex_revision(self, key: str, old: Revision | None, new: Revision | None) -> None:
        if old:
            drop(self._revisions, old.app, key)
            for index, name in self._mentioned(old):
                drop(index, name, key)
        if new:
            add(self._revisions, new.app, key)
            for index, name in self._mentioned(new):
                add(index, name, key)

    def _mentioned(self, revision: Revision) -> Iterator[tuple[dict[str, set[str]], str]]:
        """What it names, each with the index that finds the revision by that."""
        for pin, number in revision.pins.items():
            yield self._pinned, pin
            yield self._pinned_at, f"{pin}/{number}"
        for source in {mount.source for mount in volume_mounts(revision.spec)}:
            yield self._mounting, source
        for name in revision.spec.depends_on:
            yield self._needing, name

    def _reindex_content(self, old: Content | None, new: Content | None) -> None:
        if old:
            drop(self._numbers, bundle_key(old.kind, old.project, old.name), old.number)
        if new:
            add(self._numbers, bundle_key(new.kind, new.project, new.name), new.number)


def _defect(operation: Operation, error: Exception) -> Outcome:
    """The same at every node: what an exception says besides may differ from process to process."""
    what = operation.__struct_config__.tag
    return Outcome(
        code=HivemindError.code,
        message=f"{what} met a defect of Hivemind ({type(error).__name__}): nothing was changed",
        hint="please report it, with what was asked; other operations go on",
    )


def revision_key(app: str, number: int) -> str:
    return f"{app}/{number:08d}"


def definition_key(job: str, number: int) -> str:
    return f"{job}/{number:08d}"


def deployment_id(app: str, number: int) -> str:
    """Each revision is brought by one deployment, whose id follows from it."""
    return derive_id("deployment", app, number)


def bundle_key(kind: str, project: str, name: str) -> str:
    return f"{kind}/{project}/{name}"


def content_key(kind: str, project: str, name: str, number: int) -> str:
    return f"{kind}/{project}/{name}/{number:08d}"
