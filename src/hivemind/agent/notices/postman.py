"""The postman of a node: delivers the notices that the hive gave it, and tells the hive what became of each.

It is woken by what is agreed and by the time of the next try. Killed between a delivery and its report, it delivers
again: that is why every notice carries its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module

from hivemind.agent.notices.contract import Courier, Undelivered
from hivemind.errors import HivemindError
from hivemind.model.notice import Notice
from hivemind.security.sealing import Vault
from hivemind.state.jobs.notices import TRIES
from hivemind.state.opened import open_secret
from hivemind.state.operations import NoticeReport, ReportNotices
from hivemind.state.state import Outcome, State
from hivemind.state.tables import Change
from hivemind.store.events import EventLog

log = logging.getLogger(__name__)
_AT_ONCE = 4
_PATIENCE = 60.0
"""Seconds for all of one delivery."""
_AGAIN = 5.0
"""Seconds until a report that was not agreed is told again."""
_SECRET = "secret:"


class Postman:
    def __init__(
        self,
        *,
        node: str,
        state: State,
        vault: Vault,
        submit: Callable[[ReportNotices], Awaitable[Outcome]],
        events: EventLog,
        clock: Callable[[], int],
    ) -> None:
        self._node = node
        self._state = state
        self._vault = vault
        self._submit = submit
        self._events = events
        self._clock = clock
        self._due: dict[str, int] = {}
        """Id of each notice that is this node's to deliver -> when (ms)."""
        self._delivering: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        for notice in self._state.notices.values():
            self._look(notice.id, notice)
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """What is being delivered may be delivered again after the next start."""
        tasks = [*self._delivering.values(), *([self._running] if self._running else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def agreed(self, changes: Sequence[Change]) -> None:
        """To be called after each batch with what it changed."""
        for change in changes:
            if change.table == "notices":
                self._look(change.key, change.new)

    def _look(self, id: str, notice: Notice | None) -> None:
        if notice is not None and notice.node == self._node:
            self._due[id] = notice.due
        else:
            self._due.pop(id, None)
        self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            self._begin()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._pause())

    def _begin(self) -> None:
        now = self._clock()
        ready = [(due, id) for id, due in self._due.items() if due <= now and id not in self._delivering]
        for _, id in sorted(ready)[: max(0, _AT_ONCE - len(self._delivering))]:
            task = asyncio.get_running_loop().create_task(self._deliver(self._state.notices[id]))
            self._delivering[id] = task
            task.add_done_callback(lambda done, id=id: self._done(id, done))  # type: ignore[misc]

    def _done(self, id: str, task: asyncio.Task[None]) -> None:
        self._delivering.pop(id, None)
        self._news.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("a notice could not be seen to", exc_info=error)

    def _pause(self) -> float | None:
        """Seconds until the next is due; None: none is that is not being seen to."""
        if len(self._delivering) >= _AT_ONCE:
            return None
        waiting = [due for id, due in self._due.items() if id not in self._delivering]
        return max(0.0, (min(waiting) - self._clock()) / 1000) if waiting else None

    async def _deliver(self, notice: Notice) -> None:
        reason = await self._tried(notice)
        if reason:
            self._tell(notice, reason)
        report = NoticeReport(id=notice.id, delivered=not reason, reason=reason)
        while notice.id in self._due:
            try:
                (await self._submit(ReportNotices(node=self._node, notices=(report,)))).raise_for_error()
                return
            except HivemindError as error:
                log.warning("the hive could not be told of notice %s: %s", notice.id, error.message)
                await asyncio.sleep(_AGAIN)

    async def _tried(self, notice: Notice) -> str:
        """Why it was not delivered; empty: it was."""
        try:
            async with asyncio.timeout(_PATIENCE):
                courier: Courier = import_module(f"hivemind.agent.notices.{_kind(notice)}").deliver
                await asyncio.to_thread(courier, notice, lambda text: self._resolved(notice.project, text))
        except Undelivered as error:
            return str(error)
        except HivemindError as error:
            return error.message
        except TimeoutError:
            return f"it took longer than {_PATIENCE:.0f} s"
        except Exception as error:
            # Not its text, which may quote an address that is a secret.
            log.error("a notice failed in a way that nobody thought of: %s", type(error).__name__)
            return f"it failed: {type(error).__name__}"
        return ""

    def _resolved(self, project: str, text: str) -> str:
        if not text.startswith(_SECRET):
            return text
        name, _, key = text.removeprefix(_SECRET).partition("/")
        return open_secret(self._state, self._vault, project, name, key).decode(errors="replace").strip()

    def _tell(self, notice: Notice, reason: str) -> None:
        """The first failure, and the last."""
        last = notice.tries + 1 >= TRIES
        if notice.tries == 0 or last:
            self._events.append(
                "notice.given-up" if last else "notice.failed",
                f"that {notice.run_name} is {notice.on}, by {_kind(notice)}: {reason}",
                level="warning",
                project=notice.project,
                name=notice.run_name,
            )


def _kind(notice: Notice) -> str:
    """The name of the module that delivers it."""
    return "webhook" if notice.to.webhook else "slack" if notice.to.slack else "smtp"
