"""What must hold of a replica after every event, for simulations.

It is asked after every event of every node, so what is empty is not looked at twice.
"""

from __future__ import annotations

from hivemind.protocols.pbft.certificate import primary
from hivemind.protocols.pbft.checkpoints import Checkpoints
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.ordering import Ordering
from hivemind.protocols.pbft.pending import Pending
from hivemind.protocols.pbft.slots import Slot
from hivemind.protocols.pbft.viewchange import ViewChanges


def check(
    core: Core, pending: Pending, ordering: Ordering, checkpoints: Checkpoints, views: ViewChanges
) -> None:
    """Raises `AssertionError`."""
    low = core.low
    _watermarks(core, ordering, low)
    _votes(core, ordering)
    if pending.all or pending.flying or not pending.idle:
        _requests(pending)
    if checkpoints.votes:
        assert min(checkpoints.votes) > low
    if views.changes:
        _changes(core, views)
    else:
        assert core.active
    assert (views.proof is not None) == (core.active and core.view > 0)
    assert core.view >= 0
    assert len(core.voters) >= core.quorum >= core.weak


def _changes(core: Core, views: ViewChanges) -> None:
    assert all(signer in core.voters for signer in views.changes)
    assert all(change.view >= core.view for _, change in views.changes.values())
    assert core.active == (core.me not in views.changes or views.changes[core.me][1].view < core.view)


def _watermarks(core: Core, ordering: Ordering, low: int) -> None:
    executed, handed, slots = core.executed, ordering.handed, ordering.slots
    assert executed <= handed, "executed what was not given to it"
    assert handed <= ordering.agreed or handed <= executed
    if slots:
        assert len(slots) <= core.settings.log
        assert low < min(slots) and max(slots) <= low + core.settings.log, "a vote outside the watermarks"
    if ordering.decisions:
        assert min(ordering.decisions) > handed


def _votes(core: Core, ordering: Ordering) -> None:
    me, epoch, view, silent = core.me, core.epoch, -1, ""
    for slot in ordering.slots.values():
        cast = slot.prepares.cast
        if slot.spoken:
            _spoke(slot)
        if slot.voted:
            assert slot.offer is not None
            if me in cast:
                assert cast[me].digest == slot.digest, "voted for what was not offered"
        if slot.view != view:
            view, silent = slot.view, primary(epoch, slot.view)
        assert silent not in cast, "PREPARE of the primary"


def _spoke(slot: Slot) -> None:
    prepared, certificate = slot.prepared, slot.certificate
    assert slot.voted, "COMMIT without PREPARE"
    assert prepared is not None
    assert prepared.view == slot.view and prepared.digest == slot.digest
    if certificate is not None:
        assert certificate.digest == slot.digest, "decided against the own prepared certificate"


def _requests(pending: Pending) -> None:
    queued = pending.queued()
    for id, waiting in pending.all.items():
        assert waiting.request.id == id
    assert pending.flying.keys().isdisjoint(queued)
    assert pending.all.keys() >= set(queued)
