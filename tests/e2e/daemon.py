"""A real daemon in a network namespace of its own, and everything a test wants of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, TypeVar
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import debimage
import dns.message
import dns.query
import dns.rdatatype

from hivemind.client.client import Hivemind
from hivemind.drivers.volumes.mounts import mounted_below
from hivemind.model.allocation import AllocationDocument
from hivemind.model.app import AppDocument
from network_traffic import within
from tests.e2e import leftovers
from tests.e2e.eventually import eventually
from tests.e2e.leftovers import COMMAND, NAMESPACES, environment, inside, netns_of
from tests.e2e.traces import Traces

T = TypeVar("T")
_COMMAND_TIMEOUT = 180
"""Seconds; only a defect reaches them."""


class Said(NamedTuple):
    """What a command line answered."""

    code: int
    out: str
    err: str


class Daemon:
    """`home` is made; its name and that of its parent must be unique on the machine. `program`: what is started as
    the daemon."""

    program: tuple[str, ...] = COMMAND

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.data, self.run = home / "d", home / "r"
        self.log = home / "log"
        self.socket = self.run / "hivemind.sock"
        self.options = options
        self.name = "node-1"
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Hivemind(f"unix://{self.socket}")
        self.traces = Traces(home, self.client)
        home.mkdir()
        subprocess.run(["ip", "netns", "add", netns_of(home)], check=True)
        self.command("ip", "link", "set", "lo", "up")

    # -- life ------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Starts it and returns at once."""
        words = ["daemon", "--data-dir", str(self.data), "--run-dir", str(self.run)]
        words += ["--node-name", self.name, "--log-format", "console", *self.options]
        if "--web-port" not in self.options:
            words += ["--web-port", "0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*inside(self.home), *self.program, *words],
                env=environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.launch()
        eventually(self._answers, "the daemon ready")

    def _answers(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(
                f"the daemon ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
            )
        return bool(self.client.status().node)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)
        self.process.wait(60)

    def restart(self) -> None:
        self.stop()
        self.start()

    def reboot(self) -> None:
        """All of it dies at once, nothing stays mounted, and what lies in /run is gone. Then it starts."""
        self.power_off(self.pids())
        self.start()

    def pids(self) -> list[int]:
        """Of the containers that it knows of."""
        statuses = [a.status for a in self.client.allocations.list(None)]
        parts = [part for status in statuses for part in (status, *status.companions)]
        return [part.pid for part in parts if part.pid]

    def power_off(self, pids: list[int]) -> None:
        """Its daemon, these processes and whatever else is of its directory die; nothing of /run is left."""
        assert self.process
        if self.process.poll() is None:
            self.kill()
        for pid in (*pids, *self._mentioning()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self._mentioning(), "the machine off")
        eventually(lambda: not any(map(running, pids)), "every container dead")
        for mounted in reversed(mounted_below(self.home)):
            subprocess.run(["umount", "--lazy", mounted.point], check=True)
        shutil.rmtree(self.run)

    def _mentioning(self) -> list[int]:
        """Processes that have the node's directory in their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and leftovers.mentions((entry / "cmdline").read_bytes(), self.home):
                    found.append(int(entry.name))
        return found

    def destroy(self) -> None:
        """Ends the node by Hivemind's own means, which must leave nothing on the machine."""
        if self.process and self.process.poll() is None:
            self.kill()
        self.client.close()
        leftovers.clear(self.home)

        left = self.traces.everything()
        assert not left, f"{self.home} left {', '.join(map(str, left))}"

    # -- asking ----------------------------------------------------------------------------------------------

    def cli(self, *words: str, code: int = 0, stdin: str = "", env: dict[str, str] | None = None) -> Said:
        """The command line as a person runs it; it must end with `code`."""
        done = subprocess.run(
            [*inside(self.home), *COMMAND, *words],
            env={**environment(), "HIVEMIND_HOST": f"unix://{self.socket}", **(env or {})},
            cwd="/", input=stdin, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT,
        )  # fmt: skip
        said = Said(done.returncode, done.stdout, done.stderr)
        assert said.code == code, f"hivemind {' '.join(words)}: exit code {said.code}\n{said.out}{said.err}"
        assert "Traceback" not in said.err, said.err
        return said

    def begin(
        self, *words: str, stdin: int | IO[bytes] = subprocess.DEVNULL, stdout: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """The command line in the background; the caller ends it. A defect may leave it waiting, but not for ever."""
        process = subprocess.Popen(
            [*inside(self.home), *COMMAND, *words],
            env={**environment(), "HIVEMIND_HOST": f"unix://{self.socket}"},
            cwd="/", stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT,
        )  # fmt: skip
        limit = threading.Timer(_COMMAND_TIMEOUT, process.kill)
        limit.daemon = True
        limit.start()
        return process

    def command(self, *words: str) -> str:
        """Any command in the daemon's network namespace."""
        done = subprocess.run([*inside(self.home), *words], capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def within(self, work: Callable[[], T]) -> T:
        """Runs `work` on a thread in the daemon's network namespace."""
        return within(str(NAMESPACES / netns_of(self.home)), work)

    def fetch(self, url: str, headers: dict[str, str] | None = None) -> str:
        """What a GET answers, in the daemon's network namespace; an answer that is an error raises."""

        def get() -> str:
            opener = build_opener(ProxyHandler({}))
            opener.addheaders = list((headers or {}).items())
            try:
                with opener.open(url, timeout=10) as answer:
                    return str(answer.read().decode())
            except HTTPError as error:
                with error:
                    raise AssertionError(f"{url}: {error.code} {error.read().decode()}") from None

        return self.within(get)

    def resolve(self, name: str, type: str = "A") -> set[str]:
        """The answers of the node's name server at its loopback port."""

        def ask() -> set[str]:
            query = dns.message.make_query(name, dns.rdatatype.from_text(type))
            answer = dns.query.udp(query, "127.0.0.1", port=8653, timeout=10)
            return {str(record) for records in answer.answer for record in records}

        return self.within(ask)

    # -- what runs -------------------------------------------------------------------------------------------

    def load(self, *recipes: str) -> None:
        """Images of tools/debimage."""
        for recipe in recipes:
            with debimage.build(recipe).open("rb") as archive:
                self.client.images.load(archive)

    def app(self, name: str) -> AppDocument:
        return self.client.apps.get(name)

    def replicas(self, app: str) -> list[AllocationDocument]:
        """The live ones, by slot."""
        ended = ("complete", "failed", "stopped", "lost")
        found = self.client.allocations.list(app=app)
        return sorted((a for a in found if a.state not in ended), key=lambda a: (a.slot, a.attempt))

    def replica(self, app: str) -> AllocationDocument:
        """The only live one."""
        (found,) = self.replicas(app)
        return found

    def ready(self, app: str, count: int, seconds: float = 90.0) -> list[AllocationDocument]:
        """Waits until exactly so many replicas are there and ready; those."""

        def look() -> list[AllocationDocument]:
            found = self.replicas(app)
            assert [a.status.ready for a in found] == [True] * count, [
                (a.name, a.state, a.status.phase, a.status.message) for a in found
            ]
            return found

        return look() if count == 0 else eventually(look, f"{count} replicas of {app} ready", seconds)

    def events(self, app: str, type: str = "") -> list[str]:
        return [event.message for event in self.client.events(app=app, type=type)]

    def remove_apps(self) -> None:
        """Every app of every project; nothing of them may be left on the machine."""
        for app in self.client.apps.list(None):
            self.client.apps.delete(app.name, app.project)
        eventually(lambda: not self.client.allocations.list(None), "all allocations gone")
        self.traces.must_be_clean()


def running(pid: int) -> bool:
    """Not even as a zombie that nobody has buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
