"""What must hold of a replica after every event, for simulations."""

from __future__ import annotations

from hivemind.protocols.pbft.certificate import primary
from hivemind.protocols.pbft.checkpoints import Checkpoints
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.ordering import Ordering
from hivemind.protocols.pbft.pending import Pending
from hivemind.protocols.pbft.viewchange import ViewChanges


def check(
    core: Core, pending: Pending, ordering: Ordering, checkpoints: Checkpoints, views: ViewChanges
) -> None:
    """Raises `AssertionError`."""
    _watermarks(core, ordering)
    _votes(core, ordering)
    _requests(pending)
    assert all(sequence > core.low for sequence in checkpoints.votes)
    assert all(signer in core.voters for signer in views.changes)
    assert all(change.view >= core.view for _, change in views.changes.values())
    assert core.active == (core.me not in views.changes or views.changes[core.me][1].view < core.view)
    assert (views.proof is not None) == (core.active and core.view > 0)
    assert core.view >= 0
    assert len(core.voters) >= core.quorum >= core.weak


def _watermarks(core: Core, ordering: Ordering) -> None:
    assert core.executed <= ordering.handed, "executed what was not given to it"
    assert ordering.handed <= max(ordering.agreed, core.executed)
    assert len(ordering.slots) <= core.settings.log
    for sequence in ordering.slots:
        assert core.low < sequence <= core.low + core.settings.log, "a vote outside the watermarks"
    assert all(sequence > ordering.handed for sequence in ordering.decisions)


def _votes(core: Core, ordering: Ordering) -> None:
    for slot in ordering.slots.values():
        if slot.spoken:
            assert slot.voted, "COMMIT without PREPARE"
            assert slot.prepared is not None
            assert (slot.prepared.view, slot.prepared.digest) == (slot.view, slot.digest)
        if slot.voted:
            assert slot.offer is not None
            if core.me in slot.prepares.cast:
                assert slot.prepares.cast[core.me].digest == slot.digest, "voted for what was not offered"
        if slot.certificate is not None and slot.prepared is not None and slot.spoken:
            assert slot.certificate.digest == slot.digest, "decided against the own prepared certificate"
        assert primary(core.epoch, slot.view) not in slot.prepares.cast, "PREPARE of the primary"


def _requests(pending: Pending) -> None:
    for id, waiting in pending.all.items():
        assert waiting.request.id == id
    assert set(pending.flying).isdisjoint(pending.queued())
    assert set(pending.queued()) <= set(pending.all)
