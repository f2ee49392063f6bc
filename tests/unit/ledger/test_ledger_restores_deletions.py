"""A state from which things were deleted restores to the same digest: a restart after a deletion must work."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind.state.operations import DeleteProject
from ledger_hive import founded, open_ledger, put, wish

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", list("abcdef"))
async def test_a_restart_after_a_deletion(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = await founded(tmp_path)
    await put(ledger, name, nonce="put")
    await ledger.submit(wish(DeleteProject(name=name), nonce="delete"))
    digest = ledger.state.digest()
    await ledger.close()
    again = await open_ledger(tmp_path)
    assert again.state.digest() == digest
    assert "damaged" not in caplog.text  # the newest checkpoint was good, no older one had to help
    await again.close()
