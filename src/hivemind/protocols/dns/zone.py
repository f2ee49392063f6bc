"""The zone: every name that Hivemind answers for, made from the endpoints of this moment.

An app `web` of project `shop` with `--service web.local` is known

- to everyone as `web.shop.hive`, each replica as `<slot>.web.shop.hive`, and as `web.local`;
- to the containers of its own project also as `web`; the host stands in project `default`.

A project's own names always win: `db` or `db.local` never reaches another project while the asking one has
its own, not even when that has no healthy replica. Below each of these names `_<port>._tcp` (or `_udp`) has
SRV records. A name whose replicas are all unhealthy exists and has no address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from hivemind.model.names import DEFAULT_PROJECT
from hivemind.protocols.dns.records import (
    PTR,
    Address,
    Authority,
    Data,
    Name,
    Pointer,
    Service,
    is_loopback,
    pack,
    parse_name,
    reverse_name,
)

HIVE: Name = (b"hive",)
TTL = 2
"""Seconds. How long a client may go on using an endpoint that is gone, or not know a new one."""

Sets = Mapping[int, tuple[Data, ...]]
"""What a name has, by record type."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One replica, healthy (`ready`) or not. An app without replicas has one entry without an address."""

    project: str
    app: str
    slot: int = 0
    service: str | None = None
    ip: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    """Pairs of a port's name and its number at `ip`: `("http", 80)`, `("80/tcp", 80)`, `("53/udp", 53)`."""
    ready: bool = False


class _Names:
    """Names being collected. Data is kept once, in the order of its first mention."""

    def __init__(self) -> None:
        self.sets: dict[Name, dict[int, dict[Data, None]]] = {}
        self.apexes: set[Name] = set()

    def add(self, name: Name, data: Data) -> None:
        self.touch(name).setdefault(data.type, {})[data] = None

    def touch(self, name: Name) -> dict[int, dict[Data, None]]:
        """Makes the name exist, even without data."""
        return self.sets.setdefault(name, {})

    def frozen(self) -> dict[Name, Sets]:
        return {name: {type: tuple(data) for type, data in sets.items()} for name, sets in self.sets.items()}


class Zone:
    """Immutable. A change of any endpoint makes a new zone, which replaces the old one as a whole."""

    def __init__(
        self,
        shared: Mapping[Name, Sets],
        shared_apexes: frozenset[Name],
        own: Mapping[str, Mapping[Name, Sets]],
        own_apexes: Mapping[str, frozenset[Name]],
        projects: Mapping[str, str],
    ) -> None:
        """Use `Zone.build`."""
        self._shared = shared
        self._shared_apexes = shared_apexes
        self._own = own
        self._own_apexes = own_apexes
        self._projects = projects
        self.memo: dict[tuple[str, bytes], list[bytes | None]] = {}
        """Room for `answer` to keep what it wrote; it dies with the zone."""

    @classmethod
    def build(cls, entries: Iterable[Entry] = ()) -> Zone:
        """The order of the entries does not matter. Names and addresses in them were validated before."""
        ordered = sorted(entries, key=_rank)
        shared, own = _Names(), dict[str, _Names]()
        shared.apexes.add(HIVE)
        shared.add(HIVE, Authority(TTL))
        sharer: dict[Name, str] = {}
        services = {(e.project, parse_name(e.service)) for e in ordered if e.service}
        for entry in ordered:
            mine = own.setdefault(entry.project, _Names())
            full = parse_name(f"{entry.app}.{entry.project}") + HIVE
            replica = (str(entry.slot).encode(), *full)
            shared.touch(full[1:])
            _endpoint(shared, full, replica, entry)
            if entry.ip:
                _endpoint(shared, replica, replica, entry)
                if not is_loopback(entry.ip):
                    shared.add(reverse_name(entry.ip), Pointer(replica))
                    shared.apexes.add(reverse_name(entry.ip))
            bare = parse_name(entry.app)
            if (entry.project, bare) not in services:
                mine.apexes.add(bare)
                _endpoint(mine, bare, replica, entry)
            if entry.service:
                name = parse_name(entry.service)
                mine.apexes.add(name)
                _endpoint(mine, name, replica, entry)
                if sharer.setdefault(name, entry.project) == entry.project and _shareable(name):
                    shared.apexes.add(name)
                    _endpoint(shared, name, replica, entry)
        return cls(
            shared.frozen(),
            frozenset(shared.apexes),
            {project: names.frozen() for project, names in own.items()},
            {project: frozenset(names.apexes) for project, names in own.items()},
            _projects(ordered),
        )

    def project_of(self, ip: str) -> str:
        """In whose names a client at `ip` asks."""
        return self._projects.get(ip, DEFAULT_PROJECT)

    def name_of(self, ip: str) -> str:
        """The app whose replica has that address, as `web.shop.hive`; empty: none."""
        for pointer in self._shared.get(reverse_name(ip), {}).get(PTR, ()):
            assert isinstance(pointer, Pointer), "a PTR record points"
            return b".".join(pointer.target[1:]).decode()
        return ""

    def lookup(self, name: Name, project: str) -> Sets | None:
        """What the name has for a client in `project`; None when it does not exist or is not ours."""
        own = self._own.get(project, {}).get(name)
        if own is not None:
            return own
        if self._closest(name, self._own_apexes.get(project, frozenset())):
            return None  # Below a name of its own the client sees nobody else's.
        return self._shared.get(name)

    def authority(self, name: Name, project: str) -> Name | None:
        """The name under whose authority `name` falls, whether it exists or not; None when it is not ours."""
        own = self._closest(name, self._own_apexes.get(project, frozenset()))
        return own or self._closest(name, self._shared_apexes)

    @staticmethod
    def _closest(name: Name, apexes: frozenset[Name]) -> Name | None:
        """Of a declared name only it and its `_port._tcp` are ours: an app called `dev` must not hide `go.dev`."""
        for i, label in enumerate(name):
            if name[i:] in apexes:
                return name[i:]
            if not label.startswith(b"_"):
                break
        return HIVE if name[-1:] == HIVE and HIVE in apexes else None


def _rank(entry: Entry) -> tuple[object, ...]:
    """The default project comes first, so that its services are the ones that other projects see."""
    named = entry.project != DEFAULT_PROJECT, entry.project, entry.app, entry.slot
    return *named, entry.service or "", entry.ip, entry.ports, entry.ready


def _shareable(name: Name) -> bool:
    """`web.hive` is; `web.shop.hive` is not, because it could be the name of another project's app."""
    return name[-1:] != HIVE or len(name) == 2


def _endpoint(names: _Names, name: Name, replica: Name, entry: Entry) -> None:
    """`name` exists; if the replica is healthy it leads there."""
    names.touch(name)
    if not (entry.ready and entry.ip):
        return
    names.add(name, Address(pack(entry.ip)))
    for port, number in entry.ports:
        label, _, protocol = port.partition("/")
        parent = (f"_{protocol or 'tcp'}".encode(), *name)
        names.touch(parent)
        names.add((f"_{label}".lower().encode(), *parent), Service(number, replica))


def _projects(entries: Iterable[Entry]) -> dict[str, str]:
    """Address -> project. An address that several projects share (a process on the host) tells nothing."""
    found: dict[str, str] = {}
    shared = set()
    for entry in entries:
        if entry.ip and found.setdefault(entry.ip, entry.project) != entry.project:
            shared.add(entry.ip)
    return {ip: project for ip, project in found.items() if ip not in shared}
