"""One member `a`, alone with what others say to it. Events are

    hive b c …                     these come and answer pings from now on
    silent b …, answer b …         who answers; everybody who does says so for others, too, and sends NACKs
    wait SECONDS                   time passes, with all that `a` does of itself
    X alive I [META]               X signs it and sends it; `via Y` behind any of these: Y sends it
    X leaves I                     X suspects Y I                  X dead Y I
    X forges Y alive I             signed by X under Y's name
    X pings Y                      X asks Y
    leave, announce META           doubt X, meet X …, review X …   only these are allowed any more
    show X, show health

and what followed is shown once for each statement: `tells` to whomever, `tells X` what is held against X itself.
"""

from __future__ import annotations

import random

from hivemind.protocols.machine import SECOND, Micros, Received, Send, Tick
from hivemind.protocols.swim import wire
from hivemind.protocols.swim.events import (
    Announce,
    Doubt,
    Failed,
    Input,
    Joined,
    Leave,
    Measured,
    Meet,
    Returned,
    Review,
    SendReliably,
    Suspected,
)
from hivemind.protocols.swim.settings import Settings
from hivemind.protocols.swim.statements import Alive, Answer, Body, Dead, Leaving, Notary, Suspect, read
from hivemind.protocols.swim.swim import Swim
from hivemind.security.statement import Statement
from unit.protocols.swim.network import HIVE, CheapSigner, cheap_verify


class MemberTeller:
    def __init__(self) -> None:
        self.now: Micros = 0
        self.allowed: set[str] | None = None
        self.answering: dict[str, None] = {}
        self.shown: set[str] = set()
        settings = Settings(reconnect=20 * SECOND, push_pull=600 * SECOND)
        self.swim = Swim(
            Alive(1),
            CheapSigner("a"),
            cheap_verify,
            random.Random(7),
            settings,
            HIVE,
            allowed=lambda node: self.allowed is None or node in self.allowed,
        )

    def tell(self, line: str) -> list[str]:
        words = line.split()
        verbs = ("hive", "silent", "answer", "wait", "leave", "announce", "doubt", "meet", "review", "show")
        if words[0] in verbs:
            return getattr(self, words[0])(*words[1:]) or []
        sender = words.pop() if "via" in words else words[0]
        if "via" in words:
            words.remove("via")
        if words[1] in ("pings", "asks"):
            subject = words[2]
            message = wire.Ping(1, subject) if words[1] == "pings" else wire.PingRequest(1, subject)
            return self.give(Received(sender, wire.encode(message)))
        return self.give(Received(sender, wire.encode(wire.Gossip((self.statement(words),)))))

    def statement(self, words: list[str]) -> Statement:
        signer, verb, *rest = words
        if verb == "forges":
            signed = self.statement(rest)
            forged = Notary(CheapSigner(signer), cheap_verify, HIVE).sign(_body(rest))
            return Statement(signed.signer, forged.body, forged.signature)
        return Notary(CheapSigner(signer), cheap_verify, HIVE).sign(_body(words))

    def hive(self, *nodes: str) -> list[str]:
        self.answering |= dict.fromkeys(nodes)
        told = [line for node in nodes for line in self.tell(f"{node} alive 1")]
        return [line for line in (*told, *self.wait("1")) if "tells" not in line]

    def silent(self, *nodes: str) -> None:
        for node in nodes:
            self.answering.pop(node, None)

    def answer(self, *nodes: str) -> None:
        self.answering |= dict.fromkeys(nodes)

    def wait(self, seconds: str) -> list[str]:
        end = self.now + round(float(seconds) * SECOND)
        told: list[str] = []
        while (due := self.swim.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            told += [f"{(self.now) / SECOND:.1f} s: {line}" for line in self.give(Tick())]
        self.now = end
        return told

    def leave(self) -> list[str]:
        return self.give(Leave())

    def announce(self, meta: str) -> list[str]:
        return self.give(Announce(Alive(0, (), meta.encode())))

    def doubt(self, node: str) -> list[str]:
        return self.give(Doubt(node))

    def meet(self, *nodes: str) -> list[str]:
        return self.give(Meet(nodes))

    def review(self, *nodes: str) -> list[str]:
        self.allowed = set(nodes)
        return self.give(Review())

    def show(self, what: str) -> list[str]:
        if what == "health":
            return [f"health {self.swim.awareness.score}"]
        if what == "me":
            return [f"a alive {self.swim.me.incarnation}"]
        status, alive = self.swim.status(what), self.swim.alive(what)
        return [
            f"{what} is {status.name.lower()}, incarnation {alive.incarnation}"
            if status is not None and alive
            else f"{what} is not known"
        ]

    def give(self, event: Input) -> list[str]:
        told: list[str] = []
        if not isinstance(event, Tick):
            self.shown = {text for text in self.shown if text.startswith("tells:")}
        events = [event]
        while events:
            for effect in self.swim.handle(events.pop(0), self.now):
                if isinstance(effect, Send | SendReliably):
                    told += self.sent(effect)
                    events += self.answers(effect)
                elif not isinstance(effect, Measured):
                    told.append(shown(effect))
            self.swim.check()
        return told

    def sent(self, effect: Send | SendReliably) -> list[str]:
        message = wire.decode(effect.message)
        assert message is not None
        way = " through the channel" if isinstance(effect, SendReliably) else ""
        told = []
        silent = effect.to not in self.answering
        if isinstance(message, wire.Ping) and (silent or message.asker):
            whose = f" for {message.asker}" if message.asker else ""
            told.append(f"pings {effect.to}{whose}{way}")
        elif isinstance(message, wire.PingRequest):
            told.append(f"asks {effect.to} to ping {message.subject}")
        elif isinstance(message, wire.Ack):
            told.append(f"answers {effect.to}")
        elif isinstance(message, wire.Vouch | wire.Nack):
            told.append(f"{type(message).__name__.lower()} to {effect.to}")
        elif isinstance(message, wire.Summary):
            return [f"compares with {effect.to}"]
        for statement in message.statements:
            body = read(statement)
            assert body is not None
            about = getattr(body, "accused", statement.signer)
            text = f"tells{f' {about}' if about == effect.to else ''}: {_said(statement.signer, body)}"
            if text not in self.shown:
                self.shown.add(text)
                told.append(text)
        return told

    def answers(self, effect: Send | SendReliably) -> list[Input]:
        message = wire.decode(effect.message)
        if effect.to not in self.answering:
            return []
        if isinstance(message, wire.Ping):
            proof = None
            if message.asker:
                proof = Notary(CheapSigner(effect.to), cheap_verify, HIVE).sign(
                    Answer(message.asker, message.asked)
                )
            return [Received(effect.to, wire.encode(wire.Ack(message.sequence, proof=proof)))]
        if isinstance(message, wire.PingRequest):
            if message.subject not in self.answering:
                return [Received(effect.to, wire.encode(wire.Nack(message.sequence)))]
            signer = CheapSigner(message.subject)
            proof = Notary(signer, cheap_verify, HIVE).sign(Answer("a", message.sequence))
            return [Received(effect.to, wire.encode(wire.Vouch(message.sequence, proof)))]
        return []


def _body(words: list[str]) -> Body:
    verb, *rest = words[1:]
    if verb == "alive":
        return Alive(int(rest[0]), (), " ".join(rest[1:]).encode())
    if verb == "leaves":
        return Leaving(int(rest[0]))
    return (Suspect if verb == "suspects" else Dead)(rest[0], int(rest[1]))


def _said(signer: str, body: Body) -> str:
    if isinstance(body, Alive):
        return f"{signer} alive {body.incarnation}{' ' if body.meta else ''}{body.meta.decode()}"
    if isinstance(body, Leaving):
        return f"{signer} leaves {body.incarnation}"
    assert isinstance(body, Suspect | Dead)
    return f"{signer} {'suspects' if isinstance(body, Suspect) else 'dead'} {body.accused} {body.incarnation}"


def shown(effect: object) -> str:
    """`!` and what the consumer is told."""
    verb = type(effect).__name__.lower()
    node = getattr(effect, "node", "")
    if isinstance(effect, Suspected):
        return f"! {verb} {node} {effect.incarnation} by {effect.by}"
    if isinstance(effect, Failed):
        seen = "" if effect.seen else ", not seen"
        return f"! {verb} {node} {effect.incarnation} by {' '.join(effect.by)}{seen}"
    if isinstance(effect, Returned):
        return f"! {verb} {node} {effect.alive.incarnation}, was {effect.was.name.lower()}"
    return f"! {verb} {node}{f' {effect.alive.incarnation}' if isinstance(effect, Joined) else ''}"
