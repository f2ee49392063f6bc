"""The parent of all commands of one node: starts them, writes their logs, keeps their exits, tells the daemon.

It lives apart from the daemon, so that a daemon may be killed or upgraded while commands run. It is one small
process with one thread and the standard library only; all it needs is loaded at its start, so the files it came
from may be replaced or deleted meanwhile.

The protocol, over a unix socket, is one JSON object a line. The shim greets with `{"version": 1, "pid": …,
"running": [ids]}`. Requests carry a number `n`, which the answer repeats:

    {"n": 1, "do": "start", "id": …, "order": …, "log": …, "exit": path, "oom": path}
                                                             -> {"pid": …} or {"errno": …, "stage": …}
    {"n": 2, "do": "kill", "id": …, "signal": 15, "all": false}  -> {}
    {"n": 3, "do": "listen"}  -> {}, and from then on {"event": "exited", "id": …, "exit": …}
    {"n": 4, "do": "exec", "order": …}, with three file descriptors -> {"pid": …}, later {"event": "exec", "code": …};
                              {"do": "hush"} or closing the connection kills what it started
    {"n": 5, "do": "quit"}    -> {}, and it ends when no command runs

A newer shim may understand more; it never changes what is written here.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from hivemind.drivers.runtimes.logfile import LogFile
from hivemind.drivers.runtimes.process.launch import LaunchError, launch
from hivemind.drivers.runtimes.process.tree import kill_all

VERSION = 1
LOST_PATIENCE = 60.0
"""Seconds that it waits for a daemon when it has nothing to do."""
_RETRY = 0.004
_MOST_UNREAD = 8 * 2**20
"""Bytes that a daemon may leave unread before it is taken for dead."""


class Command:
    """One running command, until its exit is recorded."""

    def __init__(self, pid: int, request: dict[str, Any], done: Callable[[dict[str, Any]], None]) -> None:
        self.pid = pid
        self.id: str = request.get("id", "")
        self.groups: list[str] = request["order"]["groups"]
        self.mark: str = request["order"]["mark"]
        self.exit_path: str = request.get("exit", "")
        self.oom_path: str = request.get("oom", "")
        self.log: LogFile | None = None
        self.pipes: dict[int, bytes] = {}
        self.code: int | None = None
        self.trouble = ""
        self.done = done

    def write(self, stream: bytes, data: bytes) -> None:
        try:
            if self.log is not None:
                self.log.write(stream, data, time.time_ns())
        except OSError as error:
            self.trouble = f"part of its output is lost: {error.strerror}"

    def oom_kills(self) -> int:
        try:
            with open(self.oom_path, "rb") as file:
                rows = [line.split() for line in file]
        except OSError:
            return 0
        return next((int(row[1]) for row in rows if row[0] == b"oom_kill"), 0)


class Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.listens = False
        self.incoming = b""
        self.outgoing = bytearray()
        self.descriptors: list[int] = []
        self.commands: set[Command] = set()


class Shim:
    def __init__(self, listener: socket.socket, patience: float) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._patience = patience
        self._commands: dict[int, Command] = {}
        self._by_id: dict[str, Command] = {}
        self._ending: list[Command] = []
        self._connections: set[Connection] = set()
        self._quit = False
        self._nothing = os.open("/dev/null", os.O_RDWR)

    def serve(self) -> None:
        """Until there is nothing to do and nobody who might ask for more."""
        waking, woken = socket.socketpair()
        waking.setblocking(False)
        woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(woken.fileno())
        self._selector.register(waking, selectors.EVENT_READ, lambda _: self._reap(waking))
        self._selector.register(self._listener, selectors.EVENT_READ, lambda _: self._accept())
        idle_since = time.monotonic()
        while True:
            busy = self._commands or self._ending
            if busy or (self._connections and not self._quit):
                idle_since = time.monotonic()
            left = idle_since + (0 if self._quit else self._patience) - time.monotonic()
            if left <= 0 and not busy:
                return
            for key, mask in self._selector.select(_RETRY if self._ending else max(left, 0.05)):
                key.data(mask)
            self._finish()

    # --- commands -------------------------------------------------------------------------------------------

    def _start(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        log = LogFile(**request["log"])
        out, err = os.pipe(), os.pipe()
        try:
            pid = launch(request["order"], self._nothing, out[1], err[1])
        except BaseException:
            log.close()
            os.close(out[0])
            os.close(err[0])
            raise
        finally:
            os.close(out[1])
            os.close(err[1])
        command = Command(pid, request, self._record)
        command.log = log
        for fd, stream in ((out[0], b"stdout"), (err[0], b"stderr")):
            os.set_blocking(fd, False)
            command.pipes[fd] = stream
            self._selector.register(fd, selectors.EVENT_READ, self._pipe_reader(command, fd))
        self._commands[pid] = self._by_id[command.id] = command
        return {"pid": pid}

    def _exec(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        streams = connection.descriptors[:3]
        del connection.descriptors[:3]
        try:
            if len(streams) != 3:
                raise LaunchError(9, "receive its input and output")
            pid = launch(request["order"], *streams)
        finally:
            for fd in streams:
                os.close(fd)

        def done(exit: dict[str, Any]) -> None:
            connection.commands.discard(command)
            self._send(connection, {"event": "exec", "code": exit["code"]})

        command = Command(pid, request, done)
        command.groups = []  # only what this command left behind dies with it, not the whole container
        self._commands[pid] = command
        connection.commands.add(command)
        return {"pid": pid}

    def _kill(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        command = self._by_id.get(request["id"])
        if command is not None and command.code is None:
            if request.get("all"):
                kill_all(command.groups, command.mark, command.pid)
            os.kill(command.pid, request["signal"])
        return {}

    def _hush(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        for command in connection.commands:
            kill_all([], command.mark, command.pid)
        return {}

    def _listen(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        connection.listens = True
        return {}

    def _leave(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        self._quit = True
        return {}

    def _pipe_reader(self, command: Command, fd: int) -> Callable[[int], object]:
        return lambda _: self._read_pipe(command, fd)

    def _read_pipe(self, command: Command, fd: int) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if data:
            command.write(command.pipes[fd], data)
            return True
        self._close_pipe(command, fd)
        return False

    def _close_pipe(self, command: Command, fd: int) -> None:
        self._selector.unregister(fd)
        del command.pipes[fd]
        os.close(fd)

    def _reap(self, waking: socket.socket) -> None:
        try:
            waking.recv(4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            command = self._commands.pop(pid, None)
            if command is not None:
                code = os.waitstatus_to_exitcode(status)
                command.code = code if code >= 0 else 128 - code
                self._ending.append(command)

    def _finish(self) -> None:
        """Ends what has exited, once everything that it left behind is dead too."""
        still = []
        for command in self._ending:
            if command.exit_path and kill_all(command.groups, command.mark, command.pid):
                still.append(command)
                continue
            for fd in list(command.pipes):
                while self._read_pipe(command, fd):
                    pass
                if fd in command.pipes:
                    self._close_pipe(command, fd)
            if command.log is not None:
                command.log.close()
            self._by_id.pop(command.id, None)
            oom = command.oom_kills()
            command.done(
                {
                    "code": command.code,
                    "oom": bool(oom) and command.code == 137,
                    "at": time.time_ns() // 10**6,
                    "reason": command.trouble,
                    "id": command.id,
                    "path": command.exit_path,
                    "oom_kills": oom,
                }
            )
        self._ending = still

    def _record(self, exit: dict[str, Any]) -> None:
        """The exit is in its file before anybody hears of it. A rename is enough: it outlives this process and
        the daemon, and nothing here outlives the machine."""
        path, id, kills = exit.pop("path"), exit.pop("id"), exit.pop("oom_kills")
        try:
            with open(f"{path}.new", "w") as file:
                json.dump(exit, file)
            os.rename(f"{path}.new", path)
        except FileNotFoundError:
            pass  # removed meanwhile, with all it had
        for connection in list(self._connections):
            if connection.listens:
                if kills:
                    self._send(connection, {"event": "oom", "id": id})
                self._send(connection, {"event": "exited", "id": id, "exit": exit})

    # --- connections ----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        connection = Connection(sock)
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, lambda mask: self._talk(connection, mask))
        greeting = {"version": VERSION, "pid": os.getpid()}
        self._send(connection, greeting | {"running": list(self._by_id)})

    def _talk(self, connection: Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(connection)
        if mask & selectors.EVENT_READ and connection in self._connections:
            try:
                data, descriptors, _, _ = socket.recv_fds(connection.sock, 262144, 8)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            for fd in descriptors:
                os.set_inheritable(fd, False)
            connection.descriptors += descriptors
            if not data:
                self._hang_up(connection)
                return
            *lines, connection.incoming = (connection.incoming + data).split(b"\n")
            for line in lines:
                self._answer(connection, json.loads(line))

    def _answer(self, connection: Connection, request: dict[str, Any]) -> None:
        actions = {
            "start": self._start,
            "kill": self._kill,
            "listen": self._listen,
            "exec": self._exec,
            "hush": self._hush,
            "quit": self._leave,
        }
        action = actions.get(request.get("do", ""))
        try:
            if action is None:
                raise LaunchError(38, f"understand {request.get('do')!r}")
            answer = action(connection, request)
        except LaunchError as error:
            answer = {"errno": error.number, "stage": error.stage}
        except OSError as error:
            answer = {"errno": error.errno or 5, "stage": "prepare"}
        self._send(connection, {"n": request.get("n"), **answer})

    def _send(self, connection: Connection, message: dict[str, Any]) -> None:
        connection.outgoing += json.dumps(message).encode() + b"\n"
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        try:
            while connection.outgoing:
                del connection.outgoing[: connection.sock.send(connection.outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up(connection)
            return
        if len(connection.outgoing) > _MOST_UNREAD:
            self._hang_up(connection)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outgoing else 0)
        if self._selector.get_key(connection.sock).events != wanted:
            self._selector.modify(connection.sock, wanted, self._selector.get_key(connection.sock).data)

    def _hang_up(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.sock)
        connection.sock.close()
        for fd in connection.descriptors:
            os.close(fd)
        self._hush(connection, {})


def main(run_dir: str, patience: float) -> None:
    """Becomes the shim of `run_dir`, or ends at once when that has one. Says on standard output when it listens."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir(run_dir)
    lock = os.open("shim.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    try:
        os.unlink("shim.sock")
    except FileNotFoundError:
        pass
    os.umask(0o077)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("shim.sock")
    listener.listen(64)
    listener.setblocking(False)
    shim = Shim(listener, patience)
    os.write(1, b"listening\n")
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(nothing, fd)
    problems = os.open("shim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(problems, 2)
    shim.serve()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
