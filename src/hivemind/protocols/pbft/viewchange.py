"""View changes: who gives up a primary, when, and how the next one begins.

Castro & Liskov, sections 4.4 and 4.5.2. A voter gives its primary up when the *oldest* pending request has waited
for a whole timeout; a primary that censors one request is given up however busy it is with others. It moves on
further only when a quorum has left the view with it and the next primary did not begin in time, each time waiting
twice as long; it joins others early when f+1 of them are ahead. Having said VIEW-CHANGE it votes on nothing until a
NEW-VIEW.
"""

from __future__ import annotations

from hivemind.protocols.machine import MILLISECOND, Micros
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.certificate import primary
from hivemind.protocols.pbft.checkpoints import Checkpoints
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.durable import Entered, Left
from hivemind.protocols.pbft.evidence import omits
from hivemind.protocols.pbft.newview import Outcome, flaw_of_change, flaw_of_new_view, outcome
from hivemind.protocols.pbft.ordering import Ordering
from hivemind.protocols.pbft.pending import Pending
from hivemind.protocols.pbft.wire import NewView, PrePrepare, Said, ViewChange
from hivemind.security.statement import Statement

Watch = tuple[str, str]
"""What is waited for: its kind, and which."""


class ViewChanges:
    def __init__(self, core: Core, pending: Pending, ordering: Ordering, checkpoints: Checkpoints) -> None:
        self._core, self._pending = core, pending
        self._ordering, self._checkpoints = ordering, checkpoints
        self.changes: dict[str, tuple[Statement, ViewChange]] = {}
        """The latest sound VIEW-CHANGE of each voter, own included."""
        self.proof: Statement | None = None
        """The NEW-VIEW that began this view; None in view 0 and between views."""
        self._watch: Watch | None = None
        self._since: Micros = 0
        self._doubled = 0
        """How often waiting was doubled since this view, or one before, got something done."""
        self._left_at: Micros | None = None
        """When a quorum was seen to have left, in a view that has not begun."""

    # Messages.

    def on_view_change(self, said: Said, body: ViewChange) -> None:
        core, statement = self._core, said.statement
        if statement.signer not in core.voters:
            return core.drop("not a voter's view change")
        if body.view < core.view or (body.view == core.view and core.active):
            return core.drop("an old view change")
        known = self.changes.get(statement.signer)
        if body.view > core.view + limits.VIEWS_AHEAD or (known is not None and known[1].view >= body.view):
            return core.drop("a view change too many")
        if not core.genuine(statement):
            return core.drop("signature")
        if flaw_of_change(body, core.epoch, core.signatures):
            core.convict(statement.signer, statement)
            return core.drop("a false view change")
        self._hold_to_commits(statement, body)
        self.changes[statement.signer] = (statement, body)
        self.advance()
        return None

    def _hold_to_commits(self, statement: Statement, body: ViewChange) -> None:
        """Who said COMMIT was prepared, and may not leave that out."""
        for slot in self._ordering.slots.values():
            ballot = slot.commits.cast.get(statement.signer)
            if ballot is None or not self._core.genuine(ballot.statement):
                continue
            if omits(ballot.statement, body):
                self._core.convict(statement.signer, ballot.statement, statement)

    def on_new_view(self, said: Said, body: NewView) -> None:
        core, statement = self._core, said.statement
        if not 0 < body.view <= core.view + limits.VIEWS_AHEAD:
            return core.drop("a new view out of reach")
        if statement.signer != primary(core.epoch, body.view):
            return core.drop("a new view of another than its primary")
        if body.view < core.view or (body.view == core.view and core.active):
            same = self.proof if body.view == core.view else None
            if same is not None and statement.body != same.body and core.genuine(statement):
                core.convict(statement.signer, same, statement)
            return core.drop("an old new view")
        if not core.genuine(statement):
            return core.drop("signature")
        found = flaw_of_new_view(body, core.epoch, core.signatures)
        if not isinstance(found, Outcome):
            core.drop("a false new view")
            core.convict(statement.signer, statement)
            # Whoever begins a view with a lie does not get a second try.
            return self.leave(body.view + 1) if body.view == core.view and core.may_vote else None
        return self._enter(body, statement, found)

    # What follows.

    def advance(self) -> None:
        """Joins others that are ahead; begins the view as its primary, when a quorum wants it."""
        core = self._core
        if not core.is_voter or not self.changes:
            return
        ahead = sorted(change.view for _, change in self.changes.values() if change.view > core.view)
        if len(ahead) >= core.weak and core.may_vote:
            self.leave(ahead[0])
        if core.active:
            return
        left = sum(change.view >= core.view for _, change in self.changes.values())
        if left >= core.quorum and self._left_at is None:
            self._left_at = core.now
        if core.primary == core.me and core.may_vote:
            self._begin()

    def leave(self, view: int) -> None:
        """Gives the present view up for `view`: VIEW-CHANGE, durable before it is sent."""
        core = self._core
        prepared = tuple(
            slot.prepared
            for _, slot in sorted(self._ordering.slots.items())
            if slot.prepared is not None and slot.sequence > core.low
        )
        stable = core.stable if core.stable and core.stable.epoch == core.epoch.number else None
        body = ViewChange(view, stable, prepared)
        statement = core.state(body)
        core.view, core.active = view, False
        self.proof, self._watch, self._left_at = None, None, None
        self.changes = {signer: entry for signer, entry in self.changes.items() if entry[1].view >= view}
        self.changes[core.me] = (statement, body)
        core.persist(Left(core.epoch.number, view, statement))
        core.broadcast(core.said(statement))
        self.advance()

    def _begin(self) -> None:
        """NEW-VIEW. What proposals it lacks it fetches like everybody, before it proposes anything of its own."""
        core = self._core
        wanted = {signer: entry for signer, entry in self.changes.items() if entry[1].view == core.view}
        if len(wanted) < core.quorum or core.me not in wanted:
            return
        others = sorted(signer for signer in wanted if signer != core.me)
        chosen = sorted([core.me, *others[: core.quorum - 1]])
        computed = outcome(core.view, core.epoch, [wanted[signer][1] for signer in chosen])
        body = NewView(
            core.view,
            tuple(wanted[signer][0] for signer in chosen),
            tuple(core.state(proposal) for proposal in computed.proposals),
        )
        statement = core.state(body)
        self._enter(body, statement, computed)

    def _enter(self, body: NewView, statement: Statement, computed: Outcome) -> None:
        core = self._core
        core.view, core.active = body.view, True
        self._doubled += 1
        self.proof, self._watch, self._left_at = statement, None, None
        core.persist(Entered(core.epoch.number, body.view, statement))
        if statement.signer == core.me:
            core.broadcast(core.said(statement))
        self.changes = {signer: entry for signer, entry in self.changes.items() if entry[1].view > body.view}
        if computed.stable is not None:
            self._checkpoints.stabilise(computed.stable)
            self._ordering.collect()
        given: list[tuple[Statement, PrePrepare]] = list(zip(body.proposals, computed.proposals, strict=True))
        self._ordering.enter(given)

    def begin_epoch(self) -> None:
        self.changes.clear()
        self.proof, self._watch, self._left_at, self._doubled = None, None, None, 0

    def progress(self, view: int) -> None:
        """What was decided in `view` is executed: if that is this one, waiting starts from the shortest again."""
        if view == self._core.view and self._core.active:
            self._doubled = 0

    # Time.

    def tick(self) -> None:
        core = self._core
        if not core.may_vote:
            return
        due = self.deadline()
        if due is None or core.now < due:
            return
        if not core.active:
            self._doubled += 1
        self.leave(core.view + 1)

    def deadline(self) -> Micros | None:
        """When the present primary, or the next one, is given up."""
        core = self._core
        if not core.may_vote:
            return None
        if not core.active:
            return None if self._left_at is None else self._left_at + self._patience(
                core.settings.view_change_timeout
            )  # fmt: skip
        return None if self._watch is None else self._since + self._patience(core.settings.request_timeout)

    def halfway(self) -> Micros | None:
        """When all voters are told of what is pending here too long."""
        if self._watch is None or not self._core.active:
            return None
        return self._since + self._patience(self._core.settings.request_timeout) // 2

    def _patience(self, timeout: Micros) -> Micros:
        return int(
            min(timeout << min(self._doubled, 20), max(timeout, self._core.settings.view_change_limit))
        )

    def watch(self) -> None:
        """Looks whether what is waited for has come, and for what to wait next: the oldest. Called after each
        event. Who thinks that it is behind has to catch up, and waits for one thing: that somebody has what is next."""
        core = self._core
        if not core.active or not core.may_vote:
            self._watch = None
            return
        if self._watch is None or not self._waits_still(*self._watch):
            waiting = self._waiting()
            # A tie goes to what is named first.
            self._watch = min(waiting, key=lambda key: waiting[key], default=None)
            self._since = core.now

    def _behind(self) -> bool:
        """By what this node takes on at a time; a primary of another version may take on more, so that what is next
        may be decided by nobody."""
        core = self._core
        return self._ordering.agreed > core.executed + core.settings.pipeline or core.low > core.executed

    def _waits_still(self, kind: str, which: str) -> bool:
        """What was waited for has not come."""
        if kind == "request":
            return which in self._pending.all and not self._behind()
        return (kind, which) in self._waiting()

    def _waiting(self) -> dict[Watch, Micros]:
        """What should come, and since when it should."""
        core, found = self._core, dict[Watch, Micros]()
        following = self._ordering.slots.get(core.executed + 1)
        if following is not None and following.offer is not None:
            found["sequence", str(following.sequence)] = following.arrived
        if self._behind():
            return found
        oldest = next(iter(self._pending.all), None)
        if oldest is not None:
            found["request", oldest] = self._pending.all[oldest].arrived
        at = self.due_at()
        if at is not None and at <= core.now:
            found["due", str(core.position.due)] = at
        if core.ends and core.executed < core.last:
            found["epoch", str(core.epoch.number + 1)] = core.now
        return found

    def due_at(self) -> Micros | None:
        """When, on this machine's clock, the batch that is due has been so for longer than clocks may differ."""
        core = self._core
        if core.position.due is None:
            return None
        late = core.position.due + core.settings.clock_bound - core.host.wall(core.now)
        return core.now + late * MILLISECOND
