"""No network, and the node's own: what an app gets that asks for one of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hivemind.drivers.network.contract import Published
from hivemind.drivers.network.direct import DirectNetwork
from hivemind.drivers.network.isolated import IsolatedNetwork

pytestmark = [pytest.mark.real, pytest.mark.anyio]


async def test_nothing_but_a_loopback(tmp_path: Path) -> None:
    network = IsolatedNetwork(tmp_path)
    await network.open()
    try:
        one, two = await network.attach("one", ()), await network.attach("two", ())
        assert await network.attach("one", ()) == one
        spaces = {os.stat(each.netns).st_ino for each in (one, two)}
        assert len(spaces) == 2 and os.stat("/proc/self/ns/net").st_ino not in spaces
        assert (one.ip, one.ports, one.nameserver) == ("", {}, "")
        await network.close()
        again = IsolatedNetwork(tmp_path)
        await again.open()
        assert dict(again.attachments()) == {"one": one, "two": two}, "a new daemon finds them"
        await again.prune({"two"})
        assert not Path(one.netns).exists() and os.stat(two.netns).st_ino in spaces
        await again.detach("two")
        await again.detach("two")
        assert dict(again.attachments()) == {}
    finally:
        await network.destroy()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


async def test_a_pin_that_a_reboot_emptied_is_no_attachment(tmp_path: Path) -> None:
    network = IsolatedNetwork(tmp_path)
    (tmp_path / "isolated").mkdir()
    (tmp_path / "isolated" / "old").touch()
    await network.open()
    try:
        assert dict(network.attachments()) == {}
        assert (await network.attach("old", ())).netns
    finally:
        await network.destroy()


async def test_the_nodes_own_network(tmp_path: Path) -> None:
    network = DirectNetwork("direct", tmp_path, lambda: "10.200.0.1", lambda: "10.200.0.1")
    await network.open()
    made = await network.attach("one", ["80/tcp", "53/udp"])
    assert (made.ip, made.netns, made.nameserver) == ("10.200.0.1", "", "10.200.0.1")
    assert made.ports == {"80/tcp": 80, "53/udp": 53}, "as declared: nothing is translated"
    assert await network.publish({Published("tcp", 80): (("10.200.0.1", 80),)}) == {}
    await network.close()
    again = DirectNetwork("direct", tmp_path, lambda: "10.200.0.1")
    await again.open()
    assert dict(again.attachments()) == {"one": made}
    await again.prune(set())
    assert dict(again.attachments()) == {}
    await again.destroy()
    assert not list(tmp_path.iterdir())
