"""The slots of an app, each with its allocations sorted by what they mean.

An app may have thousands of slots, and each of its updates is planned thousands of times. So they are kept from plan
to plan, and only those in which something changed are looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import attrgetter

from hivemind.model.allocation import Allocation, AllocationState, Desired

_attempt = attrgetter("attempt")


class Slot:
    """Within a slot an allocation of the wanted revision is *fresh*, any other *stale*; so is one that is to leave its
    node."""

    __slots__ = ("fresh", "healthy", "index", "last", "revision", "stale", "stopping", "unsettled")

    def __init__(
        self, index: int, revision: int, leaving: frozenset[str], allocations: list[Allocation]
    ) -> None:
        """One pass, because a first plan looks at every slot."""
        self.index = index
        self.revision = revision
        self.fresh: list[Allocation] = []
        self.stale: list[Allocation] = []
        self.stopping: list[Allocation] = []
        self.last: Allocation | None = None
        """The newest of the wanted revision, ended or not."""
        self.healthy = False
        self.unsettled: list[Allocation] = []
        """The fresh ones that are not healthy yet."""
        for allocation in sorted(allocations, key=_attempt) if len(allocations) > 1 else allocations:
            if allocation.revision == revision:
                self.last = allocation
            if not allocation.live:
                continue
            if allocation.desired is Desired.STOP:
                self.stopping.append(allocation)
            elif allocation.revision == revision and not (allocation.node in leaving or allocation.moving_to):
                self.fresh.append(allocation)
                if allocation.state is AllocationState.HEALTHY:
                    self.healthy = True
                else:
                    self.unsettled.append(allocation)
            else:
                self.stale.append(allocation)

    @property
    def settled(self) -> bool:
        """One fresh healthy replica and nothing else that counts: there is nothing to do."""
        return self.healthy and not self.stale and len(self.fresh) == 1

    @property
    def finished(self) -> bool:
        """Its newest allocation ended by itself, and the restart policy leaves it at that."""
        return self.last is not None and self.last.state in (AllocationState.COMPLETE, AllocationState.FAILED)

    @property
    def done(self) -> bool:
        """A replica of the wanted revision is healthy here, or has ended for good."""
        return self.healthy or self.finished

    @property
    def served(self) -> bool:
        """What the slot is for is there, or was done: nothing stale is needed any more."""
        return self.healthy or (
            self.finished and self.last is not None and self.last.state is AllocationState.COMPLETE
        )

    @property
    def untouched(self) -> bool:
        """The update has not come to it yet: only stale replicas, none of them told to stop."""
        return bool(self.stale) and not self.fresh and not self.stopping

    @property
    def patient(self) -> bool:
        """Untouched, serving as well as ever, and not on a node that is being left: it can wait for its turn."""
        return (
            len(self.stale) == 1
            and self.untouched
            and self.last is None
            and self.stale[0].state is not AllocationState.PENDING
            and not self.stale[0].failing
        )

    @property
    def useless(self) -> list[Allocation]:
        """Stale ones that nobody misses: those that do not get healthy, and all but the best. A revision that was
        superseded on its way would otherwise leave a slot with two, and the next one make three of them."""
        best = max(self.stale, key=lambda a: (a.state, -a.attempt), default=None)
        return [a for a in self.stale if a is not best or a.failing or a.state is AllocationState.PENDING]

    @property
    def doubled(self) -> list[Allocation]:
        """All fresh ones but the best: a drained node that came back may hold a second."""
        if len(self.fresh) < 2:
            return []
        return sorted(self.fresh, key=lambda a: (a.state, a.attempt))[:-1]


class Slots:
    """All slots of one app. What it says follows from the allocations alone; that it remembers is only quicker."""

    def __init__(self) -> None:
        self._terms: Hashable = None
        self._touched: set[int] = set()
        self._busy: dict[int, Slot] = {}
        self._patient: set[int] = set()
        self._elsewhere: set[int] = set()
        self._count = self._wanted = 0

    def touch(self, index: int) -> None:
        """Something changed in that slot."""
        self._touched.add(index)

    def look(self, terms: Hashable, wanted: int, count: int, make: Callable[[int], Slot]) -> None:
        """Brings it up to date. `terms`: all that decides, besides its allocations, what `make` makes of a slot;
        `wanted`: the revision that all slots shall come to."""
        if (terms, wanted, count) != (self._terms, self._wanted, self._count):
            self._terms, self._wanted, self._count = terms, wanted, count
            self._busy.clear()
            self._patient.clear()
            self._elsewhere.clear()
            self._touched = set(range(count))
        for index in self._touched:
            if index < count:
                self._sort(make(index))
        self._touched.clear()

    def _sort(self, slot: Slot) -> None:
        self._busy.pop(slot.index, None)
        self._patient.discard(slot.index)
        self._elsewhere.discard(slot.index)
        if slot.patient:
            self._patient.add(slot.index)
        elif not slot.settled:
            self._busy[slot.index] = slot
        elif slot.revision != self._wanted:
            self._elsewhere.add(slot.index)

    def __len__(self) -> int:
        return self._count

    @property
    def busy(self) -> list[Slot]:
        """Those in which something is to be done, or is being done; by index."""
        return [self._busy[index] for index in sorted(self._busy)]

    @property
    def patient(self) -> list[int]:
        """Those that wait for their turn; by index."""
        return sorted(self._patient)

    @property
    def done(self) -> int:
        """How many came to the wanted revision, and are healthy or have ended for good."""
        settled = self._count - len(self._busy) - len(self._patient) - len(self._elsewhere)
        return settled + sum(1 for slot in self._busy.values() if slot.done and slot.revision == self._wanted)
