"""The little of a POSIX shell that the fake runtime's containers run: enough for tests, deterministic, no process.

Understood: `sh -c SCRIPT`, lists with `;` and `&`, `while :; do …; done`, `for x in …; do …; done`, `>&2`,
`$NAME`, `$$`, `$?`, and the commands below. A command that is not known is "not found", as on a real machine.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

_HARMLESS = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}
_COMMANDS = {
    *("sh", "echo", "printf", "sleep", "exit", "true", "false", ":", "env", "cat", "pwd"),
    *("id", "trap", "wait", "read", "stty", "kill", "exec"),
}
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "r": "\r"}


T = TypeVar("T")


class _Words:
    """The words of a script and the place reached in them; a loop goes back to an earlier place."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.at = 0

    @property
    def next(self) -> str | None:
        return self._words[self.at] if self.at < len(self._words) else None

    def take(self) -> str:
        self.at += 1
        return self._words[self.at - 1]

    def until(self, word: str) -> list[str]:
        """Everything before `word`, which is taken too."""
        end = self._words.index(word, self.at)
        found = self._words[self.at : end]
        self.at = end + 1
        return found


class _Exit(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


@dataclass
class Process:
    """One running script: where it writes, what it reads, how signals reach it."""

    args: tuple[str, ...]
    env: dict[str, str]
    workdir: str
    user: str
    pid: int
    output: Callable[[Literal["stdout", "stderr"], bytes], None]
    size: tuple[int, int] = (24, 80)
    """Rows and columns, for a terminal."""
    stdin: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    """Lines; an empty one is the end."""
    traps: dict[int, str] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    signalled: asyncio.Event = field(default_factory=asyncio.Event)
    background: list[asyncio.Task[int]] = field(default_factory=list)
    status: int = 0

    def known(self) -> bool:
        """Whether there is such a command."""
        return bool(self.args) and self.args[0].rsplit("/", 1)[-1] in _COMMANDS

    def signal(self, number: int) -> None:
        self.pending.append(number)
        self.signalled.set()

    async def run(self) -> int:
        """The exit code; everything it left in the background is dead by then."""
        try:
            return await self._command(list(self.args))
        except _Exit as end:
            return end.code
        finally:
            for task in self.background:
                task.cancel()

    async def _script(self, text: str) -> int:
        lexer = shlex.shlex(text.replace("\n", " ; "), posix=True, punctuation_chars=";&>")
        lexer.whitespace_split = True
        lexer.commenters = ""
        await self._list(_Words(list(lexer)), run=True)
        return self.status

    async def _list(self, words: _Words, *, run: bool) -> None:
        while words.next not in ("done", None):
            if words.next == ";":
                words.take()
            elif words.next in ("while", "for"):
                await self._loop(words, run=run)
            else:
                await self._simple(words, run=run)

    async def _loop(self, words: _Words, *, run: bool) -> None:
        kind, head = words.take(), words.until("do")
        rounds: list[str] | None = None
        name = ""
        if kind == "for":
            name, rounds = head[0], [self._expand(word) for word in head[2:] if word != ";"]
        start = words.at
        while run and (rounds is None or rounds):
            if rounds:
                self.env[name] = rounds.pop(0)
            words.at = start
            await self._list(words, run=True)
            await self._pause(0)
        words.at = start
        await self._list(words, run=False)
        words.take()

    async def _simple(self, words: _Words, *, run: bool) -> None:
        line: list[str] = []
        stream: Literal["stdout", "stderr"] = "stdout"
        while words.next not in (";", "&", "done", None):
            word = words.take()
            if word == ">&":
                stream = "stderr" if words.take() == "2" else "stdout"
            else:
                line.append(word)
        apart = words.next == "&"
        if apart:
            words.take()
        if not run or not line:
            return
        line = [line[0], *(word if line[0] == "trap" else self._expand(word) for word in line[1:])]
        if apart:
            self.background.append(asyncio.ensure_future(self._command(line, stream)))
        else:
            self.status = await self._command(line, stream)

    async def _command(self, line: list[str], stream: Literal["stdout", "stderr"] = "stdout") -> int:
        name, rest = line[0].rsplit("/", 1)[-1], line[1:]
        match name:
            case "sh" if rest[:1] == ["-c"]:
                return await self._script(rest[1])
            case "exec":
                return await self._command(rest, stream)
            case "echo":
                newline = "" if rest[:1] == ["-n"] else "\n"
                self.output(stream, (" ".join(rest[1 if not newline else 0 :]) + newline).encode())
            case "printf":
                self.output(stream, _printf(rest))
            case "sleep":
                await self._pause(float(rest[0]))
            case "exit":
                raise _Exit(int(rest[0]) if rest else self.status)
            case "false":
                return 1
            case "env":
                self.output(stream, "".join(f"{key}={value}\n" for key, value in self.env.items()).encode())
            case "cat":
                while data := await self._until(self.stdin.get()):
                    self.output(stream, data)
            case "read":
                data = await self._until(self.stdin.get())
                self.env[rest[-1]] = data.decode("utf-8", "replace").rstrip("\n")
            case "pwd":
                self.output(stream, f"{self.workdir}\n".encode())
            case "id":
                self.output(stream, f"{self.user.partition(':')[0] or '0'}\n".encode())
            case "stty":
                self.output(stream, f"{self.size[0]} {self.size[1]}\n".encode())
            case "trap":
                for word in rest[1:]:
                    self.traps[signal.Signals[f"SIG{word}"]] = rest[0]
            case "kill":
                self.signal(signal.Signals[f"SIG{rest[0].lstrip('-')}"])
                await self._pause(0)
            case "wait":
                while any(not task.done() for task in self.background):
                    await self._until(asyncio.wait(self.background))
            case "true" | ":":
                pass
            case _:
                self.output("stderr", f"sh: {name}: not found\n".encode())
                return 127
        return 0

    async def _pause(self, seconds: float) -> None:
        await self._until(asyncio.sleep(seconds))

    async def _until(self, waited: Awaitable[T]) -> T:
        """The result of `waited`; signals that come meanwhile are handled first."""
        task = asyncio.ensure_future(waited)
        try:
            while True:
                news = asyncio.ensure_future(self.signalled.wait())
                try:
                    await asyncio.wait({task, news}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    news.cancel()
                self.signalled.clear()
                while self.pending:
                    await self._handle(self.pending.pop(0))
                if task.done():
                    return task.result()
        finally:
            task.cancel()

    async def _handle(self, number: int) -> None:
        if number in _HARMLESS and number not in self.traps:
            return
        if number not in self.traps or number in (signal.SIGKILL, signal.SIGSTOP):
            raise _Exit(128 + number)
        if self.traps[number]:
            await self._script(self.traps[number])

    def _expand(self, word: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            return {"$": str(self.pid), "?": str(self.status)}.get(name, self.env.get(name, ""))

        return re.sub(r"\$(?:\{(\w+)\}|(\w+|\$|\?))", value, word)


def _printf(rest: list[str]) -> bytes:
    def escaped(match: re.Match[str]) -> str:
        return chr(int(match[1], 8)) if match[1] else _ESCAPES.get(match[2], match[0])

    text = re.sub(r"\\(?:([0-7]{1,3})|(.))", escaped, rest[0])
    for word in rest[1:]:
        text = text.replace("%s", word, 1)
    return text.encode("latin-1" if all(ord(c) < 256 for c in text) else "utf-8")
