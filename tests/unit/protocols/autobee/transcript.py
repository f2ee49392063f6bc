"""Scenarios of the shared store as text: commands, and below each what became of it.

    nodes A B C              the first line after the story; all connected, all admitted
    > write A k=1 l=-        A writes, all at once; `-` deletes
    > run 2s                 lets time pass, each timer at its time
    > part C / heal          C, or several, are cut off from all others
    > crash B / start B      what is on its disk stays
    > lose B                 and what is on its disk is gone
    > save D / back D        keeps a copy of its disk; dies, and starts again from that copy
    > admit A B              who writes from now on, as the ledger says
    > compact A              clears what is superseded there
    > hide B A               B clears all of A's log, though it lives: who gets it from B lacks it
    > show                   what each sees: `key=value`, and by whom
    > logs                   what each has on its disk of each writer: length, and entries that are kept
    > verbose / quiet        whether messages are told

Run the tests with REWRITE=1 to write what happens into the files, and review the difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

from hive_of_replicas import Disk, Node, World, name
from hivemind.protocols.autobee import steps, wire
from hivemind.protocols.autobee.entry import Head, read

_SILENT = (wire.Summary, wire.Acked)


class Transcript:
    def __init__(self, letters: list[str]) -> None:
        self.world = World(len(letters))
        self.letters = dict(zip((name(index) for index in range(len(letters))), letters, strict=True))
        self.nodes = dict(zip(letters, self.world.all, strict=True))
        self.lines: list[str] = []
        self._saved: dict[str, Disk] = {}
        self._verbose = False
        self._convicted: dict[str, list[str]] = {letter: [] for letter in letters}
        self.world.send = self._sending(self.world.send)  # type: ignore[method-assign]

    # -- commands --------------------------------------------------------------------------------------------

    def do(self, line: str) -> None:
        command, *words = line.split()
        before = {letter: self._seen(node) for letter, node in self.nodes.items()}
        match command:
            case "write":
                batch = dict(word.split("=") for word in words[1:])
                self.nodes[words[0]].write(
                    {key: None if value == "-" else value.encode() for key, value in batch.items()}
                )
            case "run":
                self.world.run(float(words[0].removesuffix("s")))
            case "part":
                self.world.part([self.nodes[word] for word in words])
            case "heal":
                self.world.heal()
            case "crash":
                self.nodes[words[0]].crash()
            case "start":
                self.nodes[words[0]].start()
            case "lose":
                self.nodes[words[0]].crash()
                self.nodes[words[0]].disk = Disk()
            case "save":
                self._saved[words[0]] = copy.deepcopy(self.nodes[words[0]].disk)
            case "back":
                node = self.nodes[words[0]]
                node.crash()
                node.disk = copy.deepcopy(self._saved[words[0]])
                node.start()
            case "admit":
                self.world.admitted = [self.nodes[word].public for word in words]
                for word in words:
                    self.nodes[word].tell(steps.Admit(tuple(self.world.admitted)))
            case "compact":
                self.nodes[words[0]].compact()
            case "hide":
                writer = self.nodes[words[1]].public
                self.nodes[words[0]].disk.clear(writer, 1 << 40, frozenset())
            case "show":
                self._group(lambda node: [" ".join(self._told(node)) or "nothing"], "{} see {}")
            case "logs":
                self._group(self._logs, "{} have {}")
            case "verbose" | "quiet":
                self._verbose = command == "verbose"
            case _:
                raise ValueError(f"no command: {line}")
        if command in ("run", "admit"):
            self._tell_changes(before)

    # -- telling ---------------------------------------------------------------------------------------------

    def _tell_changes(self, before: dict[str, dict[str, str]]) -> None:
        def changes(node: Node) -> list[str]:
            old, new = before[self._letter(node.public)], self._seen(node)
            return [
                f"{key}={new[key]}" if key in new else f"{key} gone"
                for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key)
            ]

        self._group(changes, "{} now see {}")
        for letter, node in self.nodes.items():
            fresh = node.convicted[len(self._convicted[letter]) :]
            self._convicted[letter] += fresh
            for writer in fresh:
                self.lines.append(f"{letter} convicts {self._letter(writer)}")
            if node.exposed:
                self.lines.append(f"{letter} hears that others can convict it")
                node.exposed = False

    def _group(self, told: Callable[[Node], list[str]], words: str) -> None:
        """Nodes of which the same is to be said, in one line."""
        found: dict[str, list[str]] = {}
        for letter, node in self.nodes.items():
            if node.up and (said := told(node)):
                found.setdefault(", ".join(said), []).append(letter)
        self.lines += [words.format(" ".join(letters), said) for said, letters in found.items()]

    def _seen(self, node: Node) -> dict[str, str]:
        return {
            entry.key: f"{entry.value.decode()} ({self._letter(entry.writer)})"
            for entry in node.entries()
            if entry.value is not None
        } if node.up else {}  # fmt: skip

    def _told(self, node: Node) -> list[str]:
        return [f"{key}={value}" for key, value in self._seen(node).items()]

    def _logs(self, node: Node) -> list[str]:
        found = []
        for writer, kept in sorted(node.disk.logs.items(), key=lambda item: self._letter(item[0])):
            said = read(kept.head) if kept.head is not None else None
            if isinstance(said, Head):
                found.append(f"{node.disk.bodies(writer)} of {said.length} of {self._letter(writer)}")
        return found

    def _sending(self, send: Callable[[str, str, bytes], None]) -> Callable[[str, str, bytes], None]:
        def sent(sender: str, to: str, data: bytes) -> None:
            message = wire.decode(data)
            if self._verbose and not isinstance(message, _SILENT):
                self.lines.append(f"{self._letter(sender)} -> {self._letter(to)} {self._what(message)}")
            send(sender, to, data)

        return sent

    def _what(self, message: wire.Message | None) -> str:
        match message:
            case wire.Chunk():
                bodies = sum(piece.level < 0 for piece in message.pieces)
                nodes = len(message.pieces) - bodies
                return f"chunk of {self._letter(message.head.signer)}: {bodies} entries, {nodes} nodes"
            case wire.Want():
                proof = ", with proof" if message.proof else ""
                return f"want of {self._letter(message.writer.hex())} from {message.start}{proof}"
            case wire.Mend():
                return f"mend of {self._letter(message.writer.hex())}: {len(wire.unpack(message.held))} held"
            case wire.Living():
                return f"living of {self._letter(message.ack.signer)}: {len(wire.unpack(message.sequences))}"
            case wire.Hello():
                return "hello, answered" if message.answer else "hello"
            case _:
                return type(message).__name__.lower()

    def _letter(self, node: str) -> str:
        return self.letters[node]


def played(lines: Iterable[str]) -> list[str]:
    """The same lines, with what really happened below the commands."""
    made: list[str] = []
    transcript: Transcript | None = None
    for line in lines:
        if line.startswith("nodes "):
            transcript = Transcript(line.split()[1:])
            made.append(line)
        elif line.startswith("> ") and transcript is not None:
            made.append(line)
            transcript.lines = []
            transcript.do(line[2:])
            made += [f"    {each}" for each in transcript.lines]
        elif not line.startswith("    "):
            made.append(line)
    return made
