"""Events of what was agreed: each batch's changes, told to people."""

from __future__ import annotations

from hivemind.daemon.proclaimer import Proclaimer
from hivemind.ledger.contract import Batch
from hivemind.model.allocation import AllocationState
from hivemind.model.app import App
from hivemind.model.content import Bundle
from hivemind.model.deployment import Deployment, DeploymentState
from hivemind.model.node import Node
from hivemind.model.principal import Principal
from hivemind.state.state import State
from hivemind.state.tables import Change


class Herald:
    def __init__(self, state: State, events: Proclaimer) -> None:
        self._state = state
        self._events = events
        self._by: dict[str, str] = {}

    def agreed(self, batch: Batch) -> None:
        """To be called after each batch, with the state's changes still there."""
        self._by = self._wishers(batch)
        for change in sorted(self._state.changes, key=_creation_first):
            if change.table == "apps":
                self._app(change.old, change.new)
            elif change.table == "deployments":
                self._deployment(change.old, change.new)
            elif change.table == "nodes":
                self._node(change.old, change.new)
            elif change.table == "allocations":
                self._allocation(change)
            elif change.table == "bundles":
                self._bundle(change.old, change.new)
            elif change.table == "principals":
                self._principal(change.old, change.new)

    def _wishers(self, batch: Batch) -> dict[str, str]:
        """The id of each object that somebody changed in this batch -> the name of that person."""
        by = {}
        for envelope in batch.envelopes:
            reply = self._state.replies.get(f"{envelope.signer}/{envelope.nonce}")
            if reply and reply.outcome.id and not reply.outcome.code:
                signer = self._state.principals[envelope.signer]
                if signer.kind == "person":
                    by[reply.outcome.id] = signer.name
        return by

    def _app(self, old: App | None, new: App | None) -> None:
        if old is None and new:
            self._tell(new, "app.created", f"{new.replicas} replica{'s' if new.replicas != 1 else ''} wanted")
        elif old and new is None:
            self._tell(old, "app.removed", "nothing of it runs any more")
        elif old and new:
            if new.deleted and not old.deleted:
                self._tell(new, "app.deleted", "its replicas are being stopped")
            if new.stopped != old.stopped:
                self._tell(new, "app.stopped" if new.stopped else "app.started", "")
            if new.replicas != old.replicas:
                self._tell(new, "app.scaled", f"from {old.replicas} to {new.replicas} replicas")
            if new.paused != old.paused:
                self._tell(new, "app.paused" if new.paused else "app.resumed", "")
            if new.revision < old.revision:
                self._tell(new, "app.reverted", f"back to revision {new.revision}", warning=True)

    def _deployment(self, old: Deployment | None, new: Deployment | None) -> None:
        if new is None or (old and old.state is new.state):
            return
        failed = new.state is DeploymentState.FAILED
        verb = "deploying" if new.state is DeploymentState.RUNNING else f"deployment-{new.state}"
        message = f"revision {new.target}" + (f": {new.reason}" if new.reason else "")
        self._events.append(
            f"app.{verb}",
            message,
            by=self._by.get(new.app, ""),
            level="warning" if failed else "info",
            project=new.project,
            app=new.app_name,
            name=new.app_name,
        )

    def _node(self, old: Node | None, new: Node | None) -> None:
        about = new or old
        assert about, "a change has a before or an after"
        said = _news(old, new)
        if said:
            verb, message = said
            self._events.append(
                f"node.{verb}",
                message,
                level="warning" if verb == "lost" else "info",
                name=about.name,
                by=self._by.get(about.id, ""),
            )

    def _bundle(self, old: Bundle | None, new: Bundle | None) -> None:
        """A config or secret; never what it holds."""
        about = new or old
        assert about, "a change has a before or an after"
        if old and new and old.number == new.number:
            return
        verb = "removed" if new is None else "changed" if old else "created"
        self._events.append(
            f"{about.kind}.{verb}",
            f"number {new.number}" if new else "",
            project=about.project,
            name=about.name,
            by=self._by.get(f"{about.kind}/{about.name}", ""),
        )

    def _principal(self, old: Principal | None, new: Principal | None) -> None:
        who = new or old
        assert who, "a change has a before or an after"
        if who.kind == "node" or (old and new and old.role is new.role):
            return
        verb = "revoked" if new is None else "changed" if old else "admitted"
        self._events.append(
            f"principal.{verb}", f"as {who.role.name.lower()}", name=who.name, by=self._by.get(who.id, "")
        )

    def _allocation(self, change: Change) -> None:
        new, old = change.new, change.old
        if new is None or (old and old.reason == new.reason and old.state is new.state):
            return
        if new.state is AllocationState.PENDING and new.reason:
            self._events.append(
                "allocation.unplaced",
                new.reason,
                level="warning",
                project=new.project,
                app=new.app_name,
                allocation=new.id,
                name=f"{new.app_name}.{new.slot}",
            )

    def _tell(self, app: App, type: str, message: str, *, warning: bool = False) -> None:
        self._events.append(
            type,
            message,
            level="warning" if warning else "info",
            project=app.project,
            app=app.name,
            name=app.name,
            by=self._by.get(app.id, ""),
        )


def _news(old: Node | None, new: Node | None) -> tuple[str, str] | None:
    """What became of a node, in a word, and what there is to say about it."""
    if new is None:
        return "left", ""
    if old is None or (old.expected and not new.expected):
        return ("expected", f"as a {new.role}") if new.expected else ("joined", f"{new.cpus:g} cores")
    if old.lost != new.lost:
        held = "it is given nothing new for a while" if new.held_until else ""
        return ("lost", "what ran there is begun elsewhere") if new.lost else ("returned", held)
    if new.restarting and not old.restarting:
        return "restarting", f"it is waited for {(new.restarting - new.updated) / 1000:g} s"
    if new.leaving and not old.leaving:
        return "leaving", ""
    if (old.schedulable, old.drained) != (new.schedulable, new.drained):
        return ("drained" if new.drained else "uncordoned" if new.schedulable else "cordoned"), ""
    return None


def _creation_first(change: Change) -> bool:
    """An app is told of before the deployment that brings it, whatever was written first."""
    return not (change.table == "apps" and change.old is None)
