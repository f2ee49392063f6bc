"""A state from which things were deleted restores to the same digest: a restart after a deletion must work."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_hive import founded, open_ledger, put, wish

from hivemind.state.operations import DeleteProject

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", list("abcdef"))
async def test_a_restart_after_a_deletion(tmp_path: Path, name: str) -> None:
    ledger = await founded(tmp_path)
    await put(ledger, name, nonce="put")
    await ledger.submit(wish(DeleteProject(name=name), nonce="delete"))
    digest = ledger.state.digest()
    await ledger.close()
    again = await open_ledger(tmp_path)
    assert again.state.digest() == digest
    await again.close()
