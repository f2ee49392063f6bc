"""What the ledger and the store ask of connections is what connections offer: by name, by parameters, by types."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from hivemind.ledger import links as of_ledger
from hivemind.store import links as of_store
from hivemind.transport.contract import Peers, Stream
from hivemind.transport.fake import FakePeers
from hivemind.transport.peers import TcpPeers


def typed(peers: Peers, tcp: TcpPeers, fake: FakePeers, stream: Stream) -> tuple[Any, ...]:
    """For the type checker alone: each of these has to fit."""
    store: list[of_store.Links] = [peers, tcp, fake]
    ledger: list[of_ledger.Links] = [peers, tcp, fake]
    contract: list[Peers] = [tcp, fake]
    streams: list[of_ledger.Stream] = [stream]
    return store, ledger, contract, streams


def asked(links: type) -> list[str]:
    own = [name for name in vars(links) if not name.startswith("_")]
    return [*own, *(name for name in inspect.get_annotations(links) if name not in own)]


def shape(kind: type, name: str) -> object:
    """How it is used: a value's type, or a method's parameters, by name, kind, type and default."""
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, property):
        return found.fget and inspect.get_annotations(found.fget)["return"]
    if found is None:
        return inspect.get_annotations(kind)[name]
    signature = inspect.signature(found)
    return inspect.iscoroutinefunction(found), str(signature)


@pytest.mark.parametrize(
    ("links", "offered"),
    [(of_store.Links, Peers), (of_ledger.Links, Peers), (of_ledger.Stream, Stream)],
    ids=["store", "ledger", "streams"],
)
def test_what_is_asked_of_connections_they_offer(links: type, offered: type) -> None:
    assert asked(links)
    for name in asked(links):
        assert shape(links, name) == shape(offered, name), name


@pytest.mark.parametrize("kept_by", [TcpPeers, FakePeers])
def test_both_transports_offer_all_of_the_contract(kept_by: type) -> None:
    for name in asked(Peers):
        wanted = shape(Peers, name)
        if isinstance(wanted, tuple):
            found = inspect.getattr_static(kept_by, name)
            mine, theirs = inspect.signature(found), inspect.signature(getattr(Peers, name))
            assert [(p.name, p.kind) for p in mine.parameters.values()] == [
                (p.name, p.kind) for p in theirs.parameters.values()
            ], name
