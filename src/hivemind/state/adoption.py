"""What a node agreed with itself before it joined becomes the hive's, so that what runs there simply goes on: every
record keeps its id, and the node's agent sees nothing change.

What a name says twice clashes, and one clash refuses everything: nothing is renamed behind anybody's back. Whoever
joins learns of all clashes at once (`clashes`), before it joins and, should the hive have changed meanwhile, after.

Not carried: runs of jobs and their history (a run that goes on refuses the whole join), other nodes, other people's
keys. A project that the hive has too keeps the hive's own permissions and limits.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import structs

from hivemind.errors import Conflict, Invalid, NotFound, TooLarge
from hivemind.model.base import Record, decode, encode
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.principal import Principal
from hivemind.model.volume import key
from hivemind.protocols.pbft import limits
from hivemind.state import leaving, tokens
from hivemind.state.apps import MAX_REPLICAS
from hivemind.state.operations import AdoptRecords
from hivemind.state.state import (
    Outcome,
    State,
    bundle_key,
    content_key,
    definition_key,
    deployment_id,
    revision_key,
)

Belongings = Mapping[str, Mapping[str, Record]]
"""Table, then key, then record."""

MOST: Final = 64 * 2**20
"""Bytes of all records, encoded."""

_KEYS: Final[dict[str, Any]] = {
    "projects": lambda r: r.name,
    "apps": lambda r: r.id,
    "revisions": lambda r: revision_key(r.app, r.number),
    "deployments": lambda r: deployment_id(r.app, r.target),
    "allocations": lambda r: r.id,
    "bundles": lambda r: bundle_key(r.kind, r.project, r.name),
    "contents": lambda r: content_key(r.kind, r.project, r.name, r.number),
    "registries": lambda r: r.name,
    "volumes": lambda r: key(r.project, r.name),
    "snapshots": lambda r: key(r.project, r.name),
    "discarded": lambda r: r.id,
    "storage_classes": lambda r: r.name,
    "backup_targets": lambda r: key(r.project, r.name),
    "jobs": lambda r: r.id,
    "definitions": lambda r: definition_key(r.job, r.number),
    "routines": lambda r: key(r.project, r.name),
    "queues": lambda r: key(r.project, r.key),
}
"""What is carried, and how its tables call a record."""
_NAMED: Final[dict[str, str]] = {
    "apps": "app",
    "jobs": "job",
    "bundles": "",
    "registries": "registry",
    "volumes": "volume",
    "snapshots": "snapshot",
    "storage_classes": "storage class",
    "backup_targets": "backup target",
    "routines": "routine",
}
"""What people call those that can clash."""
_INCIDENTAL: Final = ("version", "created", "updated")


# -- bringing ------------------------------------------------------------------------------------------------


def belongings(state: State) -> dict[str, dict[str, Record]]:
    """What a node that is alone has to bring. Raises `Conflict` while a run goes on. Secrets are sealed with its own
    key still."""
    going = sorted(run.name for run in state.runs.values() if not run.state.ended)
    if going:
        more = f" and {len(going) - 5} more" if len(going) > 5 else ""
        raise Conflict(
            f"{'a run goes' if len(going) == 1 else 'runs go'} on that cannot be carried into another hive:"
            f" {', '.join(going[:5])}{more}",
            hint=f"wait until they end, or: hivemind job cancel {going[0]}",
        )
    found = {name: {k: table[k] for k in table} for name, table in _tables(state)}
    if found["projects"].keys() == {DEFAULT_PROJECT}:
        del found["projects"]
    return {name: records for name, records in found.items() if records}


def pack(brought: Belongings) -> bytes:
    """As `AdoptRecords` carries it: JSON, compressed. Raises `TooLarge`."""
    packed = zlib.compress(encode(brought), 9)
    if len(packed) > limits.REQUEST_SIZE - 4096:
        raise TooLarge(
            f"what this node would bring takes {len(packed)} bytes, and {limits.REQUEST_SIZE - 4096} can be agreed",
            hint="remove what is not needed any more, or join with an empty node and deploy anew",
        )
    return packed


def unpack(packed: bytes) -> dict[str, dict[str, Record]]:
    """Raises `Invalid` for what is not that, or too much of it."""
    tables = dict(_tables(State("")))
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(packed, MOST)
        if not inflate.eof:
            raise Invalid("these records are not whole, or too many")
        raw = decode(data, dict[str, dict[str, msgspec.Raw]])
        unknown = sorted(raw.keys() - tables.keys())
        if unknown:
            raise Invalid(f"nothing is carried of {', '.join(unknown)}")
        found = {
            name: {k: decode(bytes(each), tables[name].type) for k, each in sorted(records.items())}
            for name, records in sorted(raw.items())
        }
    except (zlib.error, msgspec.DecodeError, ValueError) as error:
        raise Invalid(f"these records cannot be read: {error}") from None
    for name, records in found.items():
        for k, record in records.items():
            if _KEYS[name](record) != k:
                raise Invalid(f"a record of {name} is not what its key says: {k[:80]!r}")
    return found


def _tables(state: State) -> Iterator[tuple[str, Any]]:
    for name in _KEYS:
        yield name, getattr(state, name)


# -- adopting ------------------------------------------------------------------------------------------------


def adopt(state: State, operation: AdoptRecords, who: Principal) -> Outcome:
    """Once for each node. Repeated, it changes nothing. A node that was let in a moment ago and cannot bring what it
    has, because somebody else was first, is not in after all: the outcome's message says why."""
    tokens.hive_of(state)
    node = state.nodes.get(operation.node)
    if node is None:
        raise NotFound(f"there is no node {operation.node[:12]!r}", hint="it joins first")
    if node.adopted:
        return Outcome(id=node.id, version=node.version)
    if not node.token or node.leaving:
        raise Conflict(f"node {node.name!r} brings nothing", hint="only a node that has just joined does")
    brought = unpack(operation.records)
    _check_whole(brought, node.id)
    found = clashes(state, brought)
    if found:
        refusal = _refusal(found)
        if not node.expected:
            raise refusal
        leaving.forsake(state, node)
        tokens.give_back(state, node.token)
        return Outcome(id=node.id, message=refusal.message, hint=refusal.hint)
    for name, records in brought.items():
        table = getattr(state, name)
        for k, record in records.items():
            if k not in table:
                state.tables.put(table, k, record)
    state.tables.put(state.nodes, node.id, structs.replace(node, adopted=True))
    state.dirty |= set(brought.get("apps", {}))
    return Outcome(id=node.id, version=node.version)


def _refusal(found: list[str]) -> Conflict:
    more = f" and {len(found) - 20} more" if len(found) > 20 else ""
    return Conflict(
        f"the hive has these already: {', '.join(found[:20])}{more}",
        hint="rename or remove them on one of both sides, then join again",
    )


def clashes(state: State, brought: Belongings) -> list[str]:
    """What the hive has by the same name and means otherwise: `app default/web`, `volume default/data`."""
    found = []
    for name in _KEYS:
        table = getattr(state, name)
        for k, record in brought.get(name, {}).items():
            if name in _NAMED and _clashes(state, name, table.get(k), record):
                found.append(_called(name, record))
            elif name not in ("projects", *_NAMED) and k in table and table[k] != record:
                found.append(f"{name} {k}")
    return [*found, *_taken(state, brought)]


def _taken(state: State, brought: Belongings) -> Iterator[str]:
    """Host ports and service names, which belong to one app of the hive."""
    specs = [state.revision(app.id, app.revision).spec for app in state.apps.values() if not app.deleted]
    ports = {port for spec in specs for port in spec.node_ports}
    services = {spec.service for spec in specs if spec.service}
    revisions: Mapping[str, Any] = brought.get("revisions", {})
    apps: Mapping[str, Any] = brought.get("apps", {})
    for app in apps.values():
        revision = revisions.get(revision_key(app.id, app.revision))
        if app.deleted or revision is None:
            continue
        called = _called("apps", app)
        yield from (f"port {port} of {called}" for port in sorted(ports & set(revision.spec.node_ports)))
        if revision.spec.service in services:
            yield f"service name {revision.spec.service} of {called}"


def _clashes(state: State, name: str, there: Record | None, record: Any) -> bool:
    if name == "apps":
        return there is not None or (
            not record.deleted and state.find_app(record.project, record.name) is not None
        )
    if name == "jobs":
        return there is not None or state.find_job(record.project, record.name) is not None
    if there is not None and name in ("storage_classes", "registries"):
        return bool(_bare(there) != _bare(record))
    return there is not None


def _bare(record: Any) -> Any:
    """What it means: whenever and by whatever versions it came about."""
    return {name: value for name, value in structs.asdict(record).items() if name not in _INCIDENTAL}


def _called(name: str, record: Any) -> str:
    what = _NAMED[name] or record.kind
    project = getattr(record, "project", "")
    return f"{what} {project}/{record.name}" if project else f"{what} {record.name}"


# -- whether it holds together -------------------------------------------------------------------------------


def _check_whole(brought: Belongings, node: str) -> None:
    """Whatever is looked up later has to be there, and nothing be beyond what may be deployed: a record that leads
    nowhere, or without end, would stop every node at once."""
    for wrong in _loose_ends(brought, node):
        raise Invalid(f"these records do not hold together: {wrong}")


def _loose_ends(brought: Belongings, node: str) -> Iterator[str]:
    of: dict[str, Any] = {name: brought.get(name, {}) for name in _KEYS}
    for app in of["apps"].values():
        for number in {app.revision, app.stable} - {0}:
            if revision_key(app.id, number) not in of["revisions"]:
                yield f"app {app.name} has no revision {number}"
        if not 0 <= app.replicas <= MAX_REPLICAS:
            yield f"app {app.name} has {MAX_REPLICAS} replicas at most"
    for revision in of["revisions"].values():
        revision.spec.validate()
        yield from _of_app(of, revision.app, "a revision")
        app = of["apps"].get(revision.app)
        for pin, number in revision.pins.items() if app else ():
            kind, _, name = pin.partition("/")
            if content_key(kind, app.project, name, number) not in of["contents"]:
                yield f"revision {revision.number} of {app.name} uses {pin}, which is not there"
    for deployment in of["deployments"].values():
        yield from _of_app(of, deployment.app, "a deployment")
    for allocation in of["allocations"].values():
        yield from _of_app(of, allocation.app, "an allocation")
        if allocation.for_job or allocation.node not in ("", node):
            yield f"allocation {allocation.id} is not of this node"
        if revision_key(allocation.app, allocation.revision) not in of["revisions"]:
            yield f"allocation {allocation.id} is of no revision"
    for content in of["contents"].values():
        if bundle_key(content.kind, content.project, content.name) not in of["bundles"]:
            yield f"a content of {content.kind} {content.name} is of none"
    for bundle in of["bundles"].values():
        if content_key(bundle.kind, bundle.project, bundle.name, bundle.number) not in of["contents"]:
            yield f"{bundle.kind} {bundle.name} holds nothing"
    for name in ("volumes", "snapshots", "discarded"):
        for record in of[name].values():
            if record.node not in ("", node):
                yield f"one of {name} is on another node"
    for volume in of["volumes"].values():
        if volume.backup and key(volume.project, volume.backup.target) not in of["backup_targets"]:
            yield f"volume {volume.name} is backed up to where nothing is"
    for job in of["jobs"].values():
        if definition_key(job.id, job.number) not in of["definitions"]:
            yield f"job {job.name} has no definition"
    for definition in of["definitions"].values():
        if definition.job not in of["jobs"]:
            yield "a definition is of no job"


def _of_app(of: Mapping[str, Any], app: str, what: str) -> Iterator[str]:
    if app not in of["apps"]:
        yield f"{what} is of no app"
