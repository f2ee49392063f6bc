"""A voter that has lost its records may have voted for anything: it is as good as a liar until that cannot matter.

It asks the others how far they have gone. Of the quorum that any of its own votes rested on, one honest voter is
among the quorum that answers. So what it voted for is at most 2L above their highest stable checkpoint, and of the
views it gave up the last is at most one above theirs. It votes again when a stable checkpoint has passed the one in
a view above the other, or two epochs later. Until then it follows, like a learner.

The checkpoint alone would not do. It may have given up the present view with a VIEW-CHANGE that somebody still has; if
it voted in that view again, a later NEW-VIEW could rest on that old word, which knows nothing of what was decided
since, and count it for a quorum. And views do not change by themselves where all goes well. So once only the view is
missing it says so, and the others begin another one: each of them once in an epoch for each voter, so that nobody can
keep them from deciding by asking for it again and again.

Where a quorum of *others* does not exist (one or two voters) nobody can tell: that needs recovery by force.
"""

from __future__ import annotations

from hivemind.protocols.machine import Micros
from hivemind.protocols.pbft.certificate import primary
from hivemind.protocols.pbft.checkpoints import Checkpoints
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.durable import Bounded, Forgot, Trusted
from hivemind.protocols.pbft.wire import Recall, Recalled


class Amnesia:
    def __init__(self, core: Core, checkpoints: Checkpoints) -> None:
        self._core, self._checkpoints = core, checkpoints
        self._answers: dict[str, tuple[int, int, int]] = {}
        """Epoch, view and stable checkpoint of each other voter."""
        self.bound: Bounded | None = None
        self._asked: Micros = 0
        self._of = -1
        self._obliged: set[tuple[int, str]] = set()
        """Epoch, and voter for which another view was begun in it."""

    def begin(self) -> None:
        """The records are gone. That this is so must not be forgotten as well."""
        core = self._core
        core.abstains = True
        core.persist(Forgot(core.epoch.number))

    def tick(self) -> None:
        core = self._core
        if not core.abstains or not core.is_voter or core.now < self._asked:
            return
        if self.bound is not None:
            if self._wants_a_view(self.bound):
                self._asked = core.now + core.settings.request_timeout
                core.broadcast(Recall(core.epoch.number, self.bound.view))
            return
        if self._of != core.epoch.number:
            self._answers.clear()
            self._of = core.epoch.number
        self._asked = core.now + core.settings.status_interval
        core.broadcast(Recall(core.epoch.number))

    def deadline(self) -> Micros | None:
        core = self._core
        waits = self.bound is None or self._wants_a_view(self.bound)
        return self._asked if core.abstains and core.is_voter and waits else None

    def _wants_a_view(self, bound: Bounded) -> bool:
        core = self._core
        return core.epoch.number == bound.epoch and core.low >= bound.sequence and core.view <= bound.view

    def on_recall(self, sender: str, message: Recall) -> None:
        """Whoever knows says how far it has gone. Who abstains itself does not know."""
        core = self._core
        if core.abstains or not core.is_voter or message.epoch > core.epoch.number or message.above >= 0:
            return
        if message.epoch == core.epoch.number and sender in core.voters:
            stable = core.stable if core.stable and core.stable.epoch == message.epoch else None
            core.send(sender, Recalled(core.epoch.number, core.view, stable))

    def obliges(self, sender: str, message: Recall) -> int | None:
        """The view to begin for a voter that cannot vote in this one; None: not for that."""
        core, asked = self._core, (message.epoch, sender)
        if not core.may_vote or not core.active or message.above < core.view or asked in self._obliged:
            return None
        if message.epoch != core.epoch.number or sender not in core.voters or sender == core.me:
            return None
        self._obliged = {each for each in self._obliged if each[0] == message.epoch} | {asked}
        following = core.view + 1
        return following + (primary(core.epoch, following) == sender)  # who abstains begins none

    def on_recalled(self, sender: str, message: Recalled) -> None:
        core = self._core
        if not core.abstains or self.bound is not None or sender not in core.voters or sender == core.me:
            return None
        if message.epoch != core.epoch.number or message.epoch != self._of or not 0 <= message.view < 2**62:
            return core.drop("an answer to something else")
        stable = core.epoch.since - 1
        if message.stable is not None:
            if message.stable.epoch != message.epoch or not self._checkpoints.holds(message.stable):
                return core.drop("an answer that does not hold")
            stable = message.stable.checkpoint.sequence
        self._answers[sender] = (message.epoch, message.view, stable)
        if len(self._answers) >= core.quorum:
            view = max(view for _, view, _ in self._answers.values())
            reach = max(stable for _, _, stable in self._answers.values()) + 2 * core.settings.log
            self.bound = Bounded(message.epoch, view, reach)
            core.persist(self.bound)
        return None

    def advance(self) -> None:
        core, bound = self._core, self.bound
        if not core.abstains or bound is None:
            return
        number = core.epoch.number
        passed = number == bound.epoch and core.low >= bound.sequence and core.view > bound.view
        if number >= bound.epoch + 2 or (passed and core.active):
            core.abstains = False
            core.persist(Trusted(number))
