"""Answering: a query, the zone and who asks -> the response, or the decision to ask someone else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from hivemind.protocols.dns.message import (
    AA,
    BADVERS,
    EDNS_SIZE,
    HEADER,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    PLAIN_SIZE,
    RA,
    REFUSED,
    SERVFAIL,
    TCP_SIZE,
    Malformed,
    Query,
    Record,
    read_query,
    write_formerr,
    write_response,
)
from hivemind.protocols.dns.records import AAAA, ANY, AXFR, IN, IXFR, SRV, A, Authority, Data, Name, Service
from hivemind.protocols.dns.zone import TTL, Zone

Transport = Literal["udp", "tcp"]
ROTATIONS = 16
"""In so many orders at most do clients get the addresses of one name."""
MEMO = 1024
"""So many different questions are remembered."""
MEMO_QUERY = 160
"""Bytes of the largest query worth remembering."""


class Forward(NamedTuple):
    """Not our name: an upstream shall answer `query`."""

    query: Query


def answer(data: bytes, client: str, zone: Zone, transport: Transport = "udp") -> bytes | Forward | None:
    """The response to the query `data` from the address `client`; None when silence is the right one.

    The order of addresses depends on the query's id and on nothing else: clients choose ids at random."""
    if transport == "udp" and len(data) >= HEADER.size:
        project = zone.project_of(client)
        known = zone.memo.get((project, data[2:]))
        if known is not None:
            ready = known[(data[0] << 8 | data[1]) % len(known)]
            if ready is not None:
                return data[:2] + ready
    try:
        query = read_query(data)
    except Malformed:
        return write_formerr(data)
    if query is None:
        return None
    return _refusal(query) or _resolve(query, data, zone, zone.project_of(client), transport)


def failure(query: Query) -> bytes:
    """SERVFAIL: nobody could be asked."""
    return write_response(query, SERVFAIL, flags=RA)


def limit(query: Query, transport: Transport) -> int:
    """Bytes that the response may have."""
    if transport == "tcp":
        return TCP_SIZE
    return PLAIN_SIZE if query.edns is None else min(max(query.edns, PLAIN_SIZE), EDNS_SIZE)


def _refusal(query: Query) -> bytes | None:
    if query.opcode != 0:
        return write_response(query, NOTIMP)
    if query.version != 0:
        return write_response(query, BADVERS)
    if query.klass != IN or query.type in (AXFR, IXFR):
        return write_response(query, REFUSED)
    return None


def _resolve(query: Query, data: bytes, zone: Zone, project: str, transport: Transport) -> bytes | Forward:
    apex = zone.authority(query.name, project)
    if apex is None:
        return Forward(query)
    sets = zone.lookup(query.name, project)
    if sets is None:
        found: tuple[Data, ...] = ()
    elif query.type == ANY:
        found = tuple(one for some in sets.values() for one in some)
    else:
        found = sets.get(query.type, ())
    size = limit(query, transport)
    if not found:
        rcode = NXDOMAIN if sets is None else NOERROR
        authority = Record(apex, TTL, Authority(TTL))
        response = write_response(query, rcode, authority=(authority,), flags=AA | RA, limit=size)
        variants, chosen = 1, 0
    else:
        variants = min(len(found), ROTATIONS)
        chosen = query.id % variants
        first = chosen * len(found) // variants
        rotated = found[first:] + found[:first]
        response = write_response(
            query,
            answers=(Record(query.name, TTL, one) for one in rotated),
            additional=_additional(rotated, zone, project),
            flags=AA | RA,
            limit=size,
        )
    if transport == "udp" and len(data) <= MEMO_QUERY:
        if len(zone.memo) >= MEMO:
            zone.memo.clear()
        zone.memo.setdefault((project, data[2:]), [None] * variants)[chosen] = response[2:]
    return response


def _additional(found: tuple[Data, ...], zone: Zone, project: str) -> Iterator[Record]:
    """The addresses of SRV targets, so that the client need not ask again."""
    targets: dict[Name, None] = {
        one.target: None for one in found if one.type == SRV and isinstance(one, Service)
    }
    return (
        Record(target, TTL, address)
        for target in targets
        for type in (A, AAAA)
        for address in (zone.lookup(target, project) or {}).get(type, ())
    )
