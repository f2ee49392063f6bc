"""What was agreed when projects had no permissions yet stays when a newer Hivemind replays it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hivemind.errors import Forbidden
from hivemind.ledger.contract import Receipt
from hivemind.ledger.local import LocalLedger
from hivemind.model.app import AppManifest, AppSpec
from hivemind.state.operations import DeployApp
from ledger_hive import founded, open_ledger, project, wish

pytestmark = pytest.mark.anyio


async def deploy(ledger: LocalLedger, name: str) -> Receipt:
    spec = AppSpec(runtime="process", command=("serve",))
    manifest = AppManifest(name=name, spec=spec)
    return await ledger.submit(wish(DeployApp(project="default", manifest=manifest)))


async def test_plain_commands_go_on_and_new_ones_are_asked(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    await ledger.submit(wish(project("default")))
    ledger.state.before_permissions = True  # as the release before was
    await deploy(ledger, "old")
    ledger.journal.log.close()
    ledger.engine._timer.cancel()
    ledger.journal._lock.release()
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    ledger = await open_ledger(tmp_path)
    assert [app.name for app in ledger.state.apps.values()] == ["old"]
    with pytest.raises(Forbidden, match="processes"):
        await deploy(ledger, "new")
    await ledger.close()
