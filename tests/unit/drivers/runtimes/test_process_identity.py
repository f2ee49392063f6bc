"""Whom a plain command becomes: names and numbers as people write them, and nothing that only looks like one."""

from __future__ import annotations

import pytest

from hivemind.drivers.runtimes.process.check import identity
from hivemind.errors import Invalid


def test_numbers_need_no_account() -> None:
    assert identity("54321:54322") == (54321, 54322, [54322])
    assert identity("") is None


@pytest.mark.parametrize("user", ["²", "٣", "4294967295", "0:4294967295", "9" * 30, "-1", "no such user"])
def test_what_nobody_can_become_is_refused(user: str) -> None:
    """4294967295 is how the kernel is told to change nothing."""
    with pytest.raises(Invalid):
        identity(user)
