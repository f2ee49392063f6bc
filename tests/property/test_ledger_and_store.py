"""Any run of writes, crashes and restarts: the ledger and the store say what a plain model says."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hivemind.errors import Conflict, HivemindError
from hivemind.ledger.local import Settings as LedgerSettings
from hivemind.security.identity import Identity
from hivemind.state.operations import DeleteProject
from hivemind.store.shared import Settings as StoreSettings
from hivemind.store.shared import SharedStore
from ledger_hive import Clock, begin_nonces, founded, open_ledger, project, put, wish

NAMES = st.sampled_from(["a", "b", "c", "d"])
KEYS = st.sampled_from([f"{room}/{name}" for room in ("x", "y") for name in "abcde"])
VALUES = st.binary(max_size=8)


class _Machine(RuleBasedStateMachine):
    """Runs coroutines to their end in a loop of its own, in a directory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.home = Path(tempfile.mkdtemp(prefix="hivemind-property-"))
        self.generation = 0

    @property
    def directory(self) -> Path:
        return self.home / str(self.generation)

    def crash(self) -> None:
        """Goes on with a copy of the files as they are: what SIGKILL leaves."""
        before = self.directory
        self.generation += 1
        shutil.copytree(before, self.directory)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stop())
        self.loop.close()
        shutil.rmtree(self.home)

    async def stop(self) -> None:
        raise NotImplementedError


class LedgerMachine(_Machine):
    @initialize()
    def start(self) -> None:
        begin_nonces()
        self.clock = Clock()
        self.settings = LedgerSettings(checkpoint_batches=4)
        self.ledger = self.loop.run_until_complete(founded(self.directory, self.clock, self.settings))
        self.wanted: set[str] = set()
        self.count = 0

    def submit(self, operation: object, nonce: str = "") -> str:
        """The code it was refused with, or nothing."""
        try:
            self.loop.run_until_complete(self.ledger.submit(wish(operation, nonce=nonce)))  # type: ignore[arg-type]
        except HivemindError as error:
            return error.code
        return ""

    @rule(names=st.lists(NAMES, min_size=1, max_size=4))
    def put(self, names: list[str]) -> None:
        async def together() -> None:
            await asyncio.gather(*(put(self.ledger, name) for name in names))

        self.loop.run_until_complete(together())
        self.wanted |= set(names)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        code = self.submit(DeleteProject(name=name))
        assert code == ("" if name in self.wanted else "not-found")
        self.wanted.discard(name)

    @rule(name=NAMES)
    def repeat(self, name: str) -> None:
        """A repeated nonce does nothing, whatever it says."""
        self.count += 1
        assert self.submit(project(name), f"r{self.count}") == ""
        self.wanted.add(name)
        before = self.ledger.state.projects
        found = {key: before[key] for key in before}
        assert self.submit(DeleteProject(name=name), f"r{self.count}") == ""
        assert {key: before[key] for key in before} == found

    @rule(ms=st.integers(-5000, 5000))
    def time_passes(self, ms: int) -> None:
        self.clock.now += ms

    @rule()
    def restart(self) -> None:
        self.reopened(crashed=False)

    @rule()
    def kill(self) -> None:
        self.reopened(crashed=True)

    def reopened(self, *, crashed: bool) -> None:
        digest, sequence, time = (
            self.ledger.state.digest(),
            self.ledger.state.sequence,
            self.ledger.state.time,
        )
        if crashed:
            self.crash()
            # The copied lock file is another file: nobody holds it.
        self.loop.run_until_complete(self.ledger.close())
        self.ledger = self.loop.run_until_complete(open_ledger(self.directory, self.clock, self.settings))
        state = self.ledger.state
        assert (state.digest(), state.sequence, state.time) == (digest, sequence, time)

    @rule()
    def second_daemon(self) -> None:
        try:
            self.loop.run_until_complete(open_ledger(self.directory, self.clock, self.settings))
        except Conflict:
            return
        raise AssertionError("two daemons opened one directory")

    @invariant()
    def same_as_the_model(self) -> None:
        if hasattr(self, "wanted"):
            assert set(self.ledger.state.projects) == self.wanted

    async def stop(self) -> None:
        await self.ledger.close()


class StoreMachine(_Machine):
    @initialize()
    def start(self) -> None:
        self.directory.mkdir()
        self.wanted: dict[str, bytes] = {}
        self.heard: dict[str, bytes] = {}
        self.open()

    def open(self) -> None:
        self.store = self.loop.run_until_complete(
            SharedStore.open(
                self.directory / "store.db",
                Identity(bytes(32)),
                clock=lambda: 1,
                settings=StoreSettings(delay=3600, waste=5),
            )
        )

    @rule(batch=st.dictionaries(KEYS, st.none() | VALUES, max_size=4))
    def write(self, batch: dict[str, bytes | None]) -> None:
        told: list[str] = []
        undo = self.store.subscribe("x/", lambda entries: told.extend(entry.key for entry in entries))

        async def within_the_loop() -> None:
            self.store.write(batch)

        self.loop.run_until_complete(within_the_loop())
        undo()
        changed = [key for key, value in batch.items() if value is not None or key in self.wanted]
        assert told == [key for key in changed if key.startswith("x/")]
        for key, value in batch.items():
            if value is None:
                self.wanted.pop(key, None)
            else:
                self.wanted[key] = value

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.open()

    @rule()
    def flush_and_kill(self) -> None:
        self.loop.run_until_complete(self.store.flush())
        self.crash()
        self.loop.run_until_complete(self.store.close())
        self.open()

    @rule(
        prefix=st.sampled_from(["", "x/", "y/", "x/a", "z"]),
        after=st.just("") | KEYS,
        limit=st.none() | st.integers(0, 4),
    )
    def ranges(self, prefix: str, after: str, limit: int | None) -> None:
        mine = sorted(key for key in self.wanted if key.startswith(prefix))
        up = [key for key in mine if key > after][:limit]
        down = [key for key in reversed(mine) if not after or key < after][:limit]
        assert [e.key for e in self.store.range(prefix, after=after, limit=limit)] == up
        assert [e.key for e in self.store.range(prefix, after=after, limit=limit, reverse=True)] == down

    @invariant()
    def same_as_the_model(self) -> None:
        if hasattr(self, "store"):
            assert {entry.key: entry.value for entry in self.store.range("")} == self.wanted

    async def stop(self) -> None:
        await self.store.close()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
