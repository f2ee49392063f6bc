"""Addresses as people write them."""

from __future__ import annotations

import pytest

from hivemind.daemon.hive.addresses import advertised, own_host, parse, show
from hivemind.errors import Invalid


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:7000", ("10.0.0.1", 7000)),
        ("10.0.0.1", ("10.0.0.1", 7946)),
        ("[fd00::1]:7000", ("fd00::1", 7000)),
        ("[fd00::1]", ("fd00::1", 7946)),
        ("fd00::1", ("fd00::1", 7946)),
    ],
)
def test_read(text: str, address: tuple[str, int]) -> None:
    assert parse(text) == address
    assert parse(show(address)) == address


def test_what_is_left_out_is_found() -> None:
    assert parse(":7000") == (own_host(), 7000)
    assert parse("") == (own_host(), 7946)
    assert advertised(("0.0.0.0", 7000)) == (own_host(), 7000)
    assert advertised(("10.0.0.1", 7000)) == ("10.0.0.1", 7000)


@pytest.mark.parametrize("text", ["node-1:7000", "10.0.0.1:x", "10.0.0.1:70000", "10.0.0"])
def test_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not an address"):
        parse(text)
