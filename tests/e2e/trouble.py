"""What befalls a machine of a test's hive, and how it ends: killed, frozen, cut off, deaf, mute, slow, off."""

from __future__ import annotations

import subprocess
import time
from typing import NamedTuple

from tests.e2e.cluster import Member
from tests.e2e.leftovers import NAMESPACES, netns_of

KINDS = ("killed", "frozen", "cut off", "deaf", "mute", "slow", "off")
_SLOW = ("tbf", "rate", "400kbit", "burst", "4k", "latency", "300ms")
"""A thin line with a long queue: what is sent waits up to 300 ms, and more is lost. Every kernel has it, as not
every one has netem."""
_LOSS = "numgen random mod 100 < 5 "


class Span(NamedTuple):
    """When a node was in trouble; `end` is infinite as long as it is."""

    kind: str
    node: str
    begin: float
    end: float


def now() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Trouble:
    """Of one machine. It begins when it is made and ends with `end`, which may be called twice."""

    def __init__(self, kind: str, member: Member) -> None:
        self.kind, self.member, self.began = kind, member, now()
        self.ended = float("inf")
        if kind == "killed":
            member.kill()
        elif kind == "frozen":
            member.freeze()
        elif kind == "cut off":
            member.cut()
        elif kind == "deaf":
            _drop(*self._inwards)
        elif kind == "mute":
            _drop(*self._outwards)
        elif kind == "slow":
            for line in (self._inwards, self._outwards):
                _drop(*line, _LOSS)
                _tc(line[0], "replace", line[1], *_SLOW)
        else:
            assert kind == "off", kind
            member.die()

    def end(self) -> None:
        if self.ended != float("inf"):
            return
        kind, member = self.kind, self.member
        if kind == "killed":
            member.launch()
        elif kind == "frozen":
            member.thaw()
        elif kind == "cut off":
            member.mend()
        elif kind == "off":
            member.mend()
            member.launch()
        lines = {"deaf": [self._inwards], "mute": [self._outwards], "slow": [self._inwards, self._outwards]}
        for line in lines.get(kind, []):
            _pass(*line)
            if kind == "slow":
                _tc(line[0], "del", line[1])
        self.ended = now()

    @property
    def _inwards(self) -> tuple[str, str]:
        """The namespace and the link where comes in what is sent to it; then what it sends."""
        return netns_of(self.member.home), "wire"

    @property
    def _outwards(self) -> tuple[str, str]:
        return self.member.rig.hub, self.member.port

    @property
    def span(self) -> Span:
        return Span(self.kind, self.member.name, self.began, self.ended)


def _drop(netns: str, link: str, which: str = "") -> None:
    """What comes in there, before anybody else sees it."""
    chain = f"{{ type filter hook ingress device {link} priority 0; }}"
    _nft(netns, f"add table netdev trouble; add chain netdev trouble in{link} {chain}")
    _nft(netns, f"add rule netdev trouble in{link} {which}drop")


def _pass(netns: str, link: str) -> None:
    _nft(netns, f"flush chain netdev trouble in{link}; delete chain netdev trouble in{link}")


def _nft(netns: str, command: str) -> None:
    subprocess.run(["nsenter", f"--net={NAMESPACES / netns}", "nft", command], check=True)


def _tc(netns: str, verb: str, link: str, *how: str) -> None:
    subprocess.run(["tc", "-n", netns, "qdisc", verb, "dev", link, "root", *how], check=True)
