"""A voter that has lost its records may have voted for anything: it is as good as a liar until that cannot matter.

It asks the others how far they have gone. Of the quorum that any of its own votes rested on, one honest voter is
among the quorum that answers. So what it voted for is at most 2L above their highest stable checkpoint, and of the
views it gave up the last is at most one above theirs. It votes again when a stable checkpoint has passed the one in
a view above the other, or two epochs later. Until then it follows, like a learner.

Where a quorum of *others* does not exist (one or two voters) nobody can tell: that needs recovery by force.
"""

from __future__ import annotations

from hivemind.protocols.machine import Micros
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

    def begin(self) -> None:
        """The records are gone. That this is so must not be forgotten as well."""
        core = self._core
        core.abstains = True
        core.persist(Forgot(core.epoch.number))

    def tick(self) -> None:
        core = self._core
        if not core.abstains or self.bound is not None or not core.is_voter or core.now < self._asked:
            return
        if self._of != core.epoch.number:
            self._answers.clear()
            self._of = core.epoch.number
        self._asked = core.now + core.settings.status_interval
        core.broadcast(Recall(core.epoch.number))

    def deadline(self) -> Micros | None:
        waits = self._core.abstains and self.bound is None and self._core.is_voter
        return self._asked if waits else None

    def on_recall(self, sender: str, message: Recall) -> None:
        """Whoever knows says how far it has gone. Who abstains itself does not know."""
        core = self._core
        if core.abstains or not core.is_voter or message.epoch > core.epoch.number:
            return
        if message.epoch == core.epoch.number and sender in core.voters:
            stable = core.stable if core.stable and core.stable.epoch == message.epoch else None
            core.send(sender, Recalled(core.epoch.number, core.view, stable))

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
