"""The postman of a node, over a real hive in a box and real servers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hivemind.agent.notices.postman import Postman
from hivemind.model.content import Piece, sealing_context
from hivemind.security.sealing import NONCE_BYTES, Vault
from hivemind.state.operations import PutContent, ReportNotices
from hivemind.state.state import Outcome
from jobs_hive import JobsHive
from tests.unit.agent.notices.servers import Web, serving

pytestmark = pytest.mark.anyio


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def append(self, type: str, message: str = "", **_: Any) -> None:
        self.told.append((type, message))


class Rig:
    """A hive of one node, its postman, and a web server that is told."""

    def __init__(self) -> None:
        self.hive = JobsHive()
        self.web = Web()
        self.events = Events()
        self.vault = Vault(b"v" * 32)
        self.reports: list[ReportNotices] = []
        self.reported = asyncio.Event()
        self.postman = self.fresh()

    def fresh(self) -> Postman:
        return Postman(
            node="node-0", state=self.hive.state, vault=self.vault, submit=self.submit,
            events=self.events, clock=lambda: self.hive.time,  # type: ignore[arg-type]
        )  # fmt: skip

    async def submit(self, report: ReportNotices) -> Outcome:
        self.reports.append(report)
        outcome = self.hive.do(report, by="node-0")
        self.postman.agreed(self.hive.state.changes)
        self.reported.set()
        return outcome

    def secret(self, name: str, **values: str) -> None:
        pieces = {}
        for key, value in values.items():
            context = sealing_context("default", name, key)
            sealed = self.vault.seal(value.encode(), context, os.urandom(NONCE_BYTES))
            pieces[key] = Piece(value=sealed, digest=self.vault.digest(value.encode(), context))
        self.hive.do(PutContent(kind="secret", project="default", name=name, data=pieces))

    def fail_a_run(self, **notify: Any) -> None:
        self.hive.put(notify=[notify], tasks={"a": {"run": "x"}})
        run = self.hive.start()
        self.hive.end(self.hive.attempt(run, "a"), 1)
        self.postman.agreed(self.hive.state.changes)

    async def next_report(self) -> Any:
        async with asyncio.timeout(10):
            await self.reported.wait()
        self.reported.clear()
        return self.reports[-1].notices[0]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    with serving(rig.web):
        rig.postman.start()
        yield rig
        await rig.postman.stop()


async def test_it_delivers_and_reports(rig: Rig) -> None:
    rig.fail_a_run(webhook=f"{rig.web.url}/x")
    assert (await rig.next_report()).delivered
    assert json.loads(rig.web.posted[0].body)["state"] == "failed"
    assert rig.hive.state.notices == {} and rig.events.told == []


async def test_a_failure_is_reported_and_tried_again_when_it_is_due(rig: Rig) -> None:
    rig.web.status = 500
    rig.fail_a_run(webhook=f"{rig.web.url}/x")
    report = await rig.next_report()
    assert (report.delivered, report.reason) == (False, "127.0.0.1 answered 500")
    [(type, message)] = rig.events.told
    assert type == "notice.failed" and "job-1 is failed, by webhook: 127.0.0.1 answered 500" in message
    rig.web.status = 204
    rig.hive.wait(10)
    rig.postman._news.set()
    assert (await rig.next_report()).delivered
    first, second = rig.web.posted
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] and first.body == second.body


async def test_a_secret_address_is_opened_here_and_never_told(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rig.secret("chat", url=f"{rig.web.url}/s3cret\n")
    rig.web.status = 403
    rig.fail_a_run(slack="secret:chat/url")
    report = await rig.next_report()
    assert rig.web.posted[0].path == "/s3cret"
    everything = f"{report} {rig.events.told} {caplog.text} {list(rig.hive.state.notices.values())}"
    assert "s3cret" not in everything and "answered 403" in everything


async def test_a_secret_that_is_not_there(rig: Rig) -> None:
    rig.fail_a_run(slack="secret:chat/url")
    report = await rig.next_report()
    assert not report.delivered and "has no secret 'chat'" in report.reason


async def test_what_was_to_be_delivered_when_the_daemon_was_killed_is_delivered_then(rig: Rig) -> None:
    await rig.postman.stop()
    rig.fail_a_run(webhook=rig.web.url)
    rig.postman = rig.fresh()
    rig.postman.start()
    assert (await rig.next_report()).delivered
