"""A small hive, told by what its members tell their consumers. Events are

    nodes N [loss PERCENT] [seed S]  n0, n1, …: all know each other after a few seconds, of which nothing is shown
    run SECONDS                      crash X, freeze X, thaw X, start X [INCARNATION], leave X
    cut X Y, cut-datagrams X Y       one way only; `mend` undoes all cuts
    part X Y … | Z …                 nothing gets from one side to the other
    accuse X                         X signs accusations of everybody, three times within 3 s
    move X TO                        X says that it is where TO is
    show                             what all that are up believe

Equal tidings within half a second stand in one line, with who told them.
"""

from __future__ import annotations

from hivemind.protocols.machine import SECOND, Received
from hivemind.protocols.swim import wire
from hivemind.protocols.swim.events import Announce, Leave
from hivemind.protocols.swim.statements import Alive, Dead, Notary, Suspect
from unit.protocols.swim.member_teller import shown
from unit.protocols.swim.network import HIVE, CheapSigner, Network, cheap_verify


class HiveTeller:
    def __init__(self) -> None:
        self.net: Network
        self.began = 0

    def tell(self, line: str) -> list[str]:
        verb, *words = line.split()
        before = len(self.net.told) if verb != "nodes" else 0
        told = getattr(self, verb.replace("-", "_"))(*words)
        return told if told is not None else self.tidings(before)

    def tidings(self, before: int) -> list[str]:
        lines: dict[tuple[int, str], list[str]] = {}
        for when, who, effect in self.net.told[before:]:
            key = ((when - self.began) // (SECOND // 2), shown(effect))
            lines.setdefault(key, []).append(who)
        return [
            f"{half / 2:.1f} s: {text.removeprefix('! ')}: {' '.join(sorted(set(who)))}"
            for (half, text), who in lines.items()
        ]

    def nodes(self, count: str, *words: str) -> list[str]:
        said = dict(zip(words[::2], words[1::2], strict=True))
        self.net = Network(int(count), seed=int(said.get("seed", 0)), loss=float(said.get("loss", 0)) / 100)
        self.net.run(5)
        assert self.net.all_agree()
        self.began = self.net.now
        return []

    def run(self, seconds: str) -> None:
        self.net.run(float(seconds))

    def crash(self, name: str) -> None:
        self.net.crash(name)

    def freeze(self, name: str) -> None:
        self.net.freeze(name)

    def thaw(self, name: str) -> None:
        self.net.thaw(name)

    def start(self, name: str, incarnation: str = "1") -> None:
        self.net.start(name, int(incarnation), meet=("n1",) if name == "n0" else ("n0",))

    def leave(self, name: str) -> None:
        self.net.give(name, Leave())

    def cut(self, one: str, other: str) -> None:
        self.net.cuts.add((one, other))

    def cut_datagrams(self, one: str, other: str) -> None:
        self.net.no_datagrams.add((one, other))

    def mend(self) -> None:
        self.net.cuts, self.net.no_datagrams = set(), set()

    def part(self, *words: str) -> None:
        self.net.part(*(side.split() for side in " ".join(words).split("|")))

    def move(self, name: str, to: str) -> None:
        self.net.give(name, Announce(Alive(0, ((to, 7000),))))

    def accuse(self, liar: str) -> None:
        notary = Notary(CheapSigner(liar), cheap_verify, HIVE)
        for _ in range(3):
            for host in self.net.hosts.values():
                others = [other for other in self.net.hosts.values() if other.name not in (liar, host.name)]
                lies = [
                    notary.sign(kind(other.name, other.swim.me.incarnation))
                    for other in others
                    for kind in (Suspect, Dead)
                ]
                if host.name != liar:
                    self.net.give(host.name, Received(liar, wire.encode(wire.Gossip(tuple(lies)))))
            self.net.run(1)

    def show(self) -> list[str]:
        up = [host for host in self.net.hosts.values() if host.up]
        if self.net.all_agree():
            return [f"all agree: {' '.join(host.name for host in up)}"]
        lines = []
        for host in up:
            believed = [(node, host.swim.status(node)) for node in sorted(host.swim.known)]
            each = " ".join(
                f"{node}={status.name.lower()}" for node, status in believed if status is not None
            )
            lines.append(f"{host.name}: {each}")
        return lines
