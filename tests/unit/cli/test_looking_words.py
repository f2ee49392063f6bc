"""What people write to look: keys that leave, paths to values, places of files, ports."""

from __future__ import annotations

import pytest

from hivemind.cli.attach import DETACH, Detach, detach_keys
from hivemind.cli.commands.copy import Remote, _place
from hivemind.cli.commands.forward import _ports
from hivemind.cli.commands.wait import _split
from hivemind.cli.jsonpath import parse, value_at
from hivemind.errors import Invalid


def test_the_keys_that_leave_are_found_however_they_arrive() -> None:
    keys = detach_keys(DETACH)
    assert keys == b"\x10\x11"
    whole = Detach(keys)
    assert whole.feed(b"ls\x10\x11rest") == (b"ls", True)
    apart = Detach(keys)
    assert apart.feed(b"ls\x10") == (b"ls", False)
    assert apart.feed(b"x") == (b"\x10x", False)
    assert apart.feed(b"\x10") == (b"", False)
    assert apart.feed(b"\x10") == (b"\x10", False)
    assert apart.feed(b"\x11") == (b"", True)
    assert Detach(b"").feed(b"\x10\x11") == (b"\x10\x11", False)
    assert detach_keys("ctrl-a,d") == b"\x01d"
    with pytest.raises(Invalid):
        detach_keys("ctrl-")


def test_paths_to_values() -> None:
    data = {"status": {"phase": "running", "list": [{"a.b": True}]}}
    assert value_at(parse("{.status.phase}"), data) == "running"
    assert value_at(parse("status.list[0]['a.b']"), data) is True
    assert value_at(parse("{.status.list[7].x}"), data) is None
    for wrong in ("{}", "", "{.a..b}", "{.a[x]}"):
        with pytest.raises(Invalid):
            parse(wrong)


@pytest.mark.parametrize(
    "text",
    ["'{.status.phase}'=running", "{.status.phase}=running", "'{.status.phase}=running'",
     "\"{.status.phase}\"=running"],
)  # fmt: skip
def test_a_path_and_its_value_however_they_are_quoted(text: str) -> None:
    path, value = _split(text)
    assert (path, (value or "").strip("'")) == ("{.status.phase}", "running")


def test_places_of_files() -> None:
    assert _place("web.0:/etc/hosts") == Remote("web.0", "/etc/hosts")
    assert _place("web:etc") == Remote("web", "/etc")
    assert all(_place(here) is None for here in ("/a:b", "./a:b", "plain", "-", ":x"))


def test_ports() -> None:
    assert (_ports("8080:80"), _ports("80"), _ports(":80")) == ((8080, 80), (80, 80), (0, 80))
    for wrong in ("", "x", "0", "80:", "1:70000", "1:2:3"):
        with pytest.raises(Invalid):
            _ports(wrong)
