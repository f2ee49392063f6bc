"""People who wish for something of any node of a hive, whatever befalls it, and remember what was promised them."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hivemind.client.client import Hivemind
from hivemind.errors import HivemindError, NotFound
from hivemind.model.app import AppManifest
from hivemind.model.base import decode, encode
from hivemind.model.config import ConfigManifest
from tests.e2e.cluster import Member
from tests.e2e.eventually import eventually
from tests.e2e.test_jobs import put

_PATIENCE = 10.0
"""Seconds that a node may be silent before somebody turns to another one."""


class Person:
    """`spec`: what the apps' replicas are. What was not acknowledged may be done all the same, and late: then the size
    of an app is one of several."""

    def __init__(
        self, name: str, dice: random.Random, members: Sequence[Member], spec: Mapping[str, Any], job: str
    ) -> None:
        self.name, self._dice, self._members, self._job = name, dice, members, job
        self.spec = dict(spec)
        self.clients = [Hivemind(f"unix://{member.socket}", timeout=_PATIENCE) for member in members]
        self.configs: set[str] = set()
        self.runs: set[str] = set()
        self.sizes: dict[str, set[int]] = {}
        """Of its apps: the last that was acknowledged, and those of which nothing was heard."""
        self.refused: list[str] = []
        self._serial = 0

    def wish(self) -> None:
        client = self._dice.choice(self.clients)
        wish = self._dice.choice(
            (self._config, self._config, self._run, self._scale, self._scale, self._deploy)
        )
        try:
            wish(client)
        except (HivemindError, OSError) as error:
            self.refused.append(f"{wish.__name__.strip('_')}: {error}")

    def _config(self, client: Hivemind) -> None:
        self._serial += 1
        name = f"{self.name}-{self._serial}"
        client.configs.put(ConfigManifest(name=name, data={"number": str(self._serial)}))
        self.configs.add(name)

    def _run(self, client: Hivemind) -> None:
        self.runs.add(client.jobs.run(self._job).name)

    def _deploy(self, client: Hivemind) -> None:
        if len(self.sizes) < 2:
            name = f"{self.name}-app-{len(self.sizes) + 1}"
            self.sizes[name] = {0}
            self._sized(name, 2, lambda: client.apps.deploy(self.manifest(name, 2)))
        else:
            self._config(client)

    def _scale(self, client: Hivemind) -> None:
        if not self.sizes:
            return self._deploy(client)
        name, size = self._dice.choice(sorted(self.sizes)), self._dice.randint(1, 4)
        return self._sized(name, size, lambda: client.apps.scale(name, size))

    def _sized(self, name: str, size: int, change: Callable[[], object]) -> None:
        before = self.sizes[name]
        self.sizes[name] = before | {size}
        change()
        self.sizes[name] = {size} | (before if len(before) > 1 else set())

    def manifest(self, name: str, replicas: int) -> AppManifest:
        return decode(encode({"name": name, "replicas": replicas, "spec": self.spec}), AppManifest)

    def close(self) -> None:
        for client in self.clients:
            client.close()


def define(member: Member, job: str, task: Mapping[str, Any]) -> None:
    """A job of two tasks, the second after the first, that outlives any number of lost nodes."""
    body = {"retry": {"losses": 1000}, **task}
    put(member, json.dumps({"name": job, "tasks": {"first": body, "second": {**body, "needs": ["first"]}}}))


@contextmanager
def busy(people: Sequence[Person]) -> Iterator[None]:
    """They wish for one thing after the other, all at the same time, until the block ends."""
    enough, problems = threading.Event(), []

    def go_on(person: Person) -> None:
        while not enough.is_set():
            try:
                person.wish()
            except Exception as error:
                problems.append(error)
                return
            enough.wait(0.3)

    threads = [threading.Thread(target=go_on, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    if problems:
        raise problems[0]


def kept(people: Sequence[Person], members: Sequence[Member]) -> None:
    """Every promise, as every node sees it."""
    for member in members:
        eventually(lambda m=member: _kept(people, m), f"what was promised is so on {member.name}")


def _kept(people: Sequence[Person], member: Member) -> bool:
    client = member.client
    configs = {config.name for config in client.configs.list()}
    runs = {run.name: run for run in client.runs.list()}
    apps = {app.name: app for app in client.apps.list()}
    for person in people:
        assert person.configs <= configs, person.configs - configs
        assert person.runs <= set(runs), person.runs - set(runs)
        assert all(runs[name].state == "succeeded" for name in person.runs), [
            (run.name, run.state, run.reason) for run in runs.values()
        ]
        for name, sizes in person.sizes.items():
            found = apps[name].replicas if name in apps else 0
            assert found in sizes, f"{name} has {found}, not {sizes}"
    return True


def clear(member: Member) -> None:
    """All that was wished for goes."""
    for app in member.client.apps.list(None):
        try:
            member.client.apps.delete(app.name, app.project)
        except NotFound:
            pass
