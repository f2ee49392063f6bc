"""The parent of all commands of one node: starts them, writes their logs, keeps their exits, tells the daemon.

It lives apart from the daemon, so that a daemon may be killed or upgraded while commands run. It is one small
process with one thread and the standard library only; all it needs is loaded at its start, so the files it came
from may be replaced or deleted meanwhile.

The protocol, over a unix socket, is one JSON object a line. The shim greets with `{"version": 2, "pid": …, "tags":
whether it knows all of a command without control groups, "running": [ids], "ended": {id: exit that could not be
recorded yet}}`. Requests carry a number `n`, which the answer repeats; they may be sent without waiting for answers:

    {"n": 1, "do": "start", "id": …, "order": …, "boot": …, "record": path, "copy": path, "log": …, "oom": path}
                              -> {"pid": …, "start_time": …, "started": …, "boot": …, "tag": …}
                              or {"errno": …, "stage": …}
    {"n": 2, "do": "kill", "id": …, "signal": 15, "all": false}  -> {}
    {"n": 3, "do": "listen"}  -> {"running": …, "ended": …} as in the greeting, and from then on
                              {"event": "exited", "id": …, "exit": …}
    {"n": 4, "do": "exec", "beside": id, "order": …}, with three file descriptors
                              -> {"pid": …}, later {"event": "exec", "code": …};
                              {"do": "hush"} or closing the connection kills what it started
    {"n": 5, "do": "quit"}    -> {}, and it ends when no command runs

A newer shim may understand more; it never changes what is written here. Version 1, which kept records of another
shape, has a socket and a lock of other names: both may live beside each other until the commands of the older end.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from hivemind.drivers.runtimes.process.command import Command
from hivemind.drivers.runtimes.process.family import Families
from hivemind.drivers.runtimes.process.launch import LaunchError, launch, may_open_many
from hivemind.drivers.runtimes.process.tree import kill_all, start_time

VERSION = 2
LOST_PATIENCE = 60.0
"""Seconds that it waits for a daemon when it has nothing to do."""
_RETRY = 0.004
_RECORD_RETRY = 1.0
_MOST_UNREAD = 8 * 2**20
"""Bytes that a daemon may leave unread before it is taken for dead."""
_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT


class Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.listens = False
        self.waits = False
        self.incoming = b""
        self.outgoing = bytearray()
        self.descriptors: list[int] = []
        self.commands: set[Command] = set()


class Shim:
    def __init__(self, listener: socket.socket, patience: float) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], object]] = {}
        self._listener = listener
        self._patience = patience
        self._families = Families()
        self._commands: dict[int, Command] = {}
        self._by_id: dict[str, Command] = {}
        self._ending: list[Command] = []
        self._unrecorded: dict[str, tuple[Command, dict[str, Any]]] = {}
        self._connections: set[Connection] = set()
        self._talkative: set[Connection] = set()
        self._died = False
        self._quit = False
        self._nothing = os.open("/dev/null", os.O_RDWR)
        self._spare = os.open("/dev/null", os.O_RDONLY)

    def serve(self) -> None:
        """Until there is nothing to do and nobody who might ask for more."""
        waking, woken = socket.socketpair()
        waking.setblocking(False)
        woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        self._watch(waking.fileno(), lambda _: self._wake(waking))
        self._watch(self._listener.fileno(), lambda _: self._accept())
        idle_since = time.monotonic()
        while True:
            busy = self._commands or self._ending or self._unrecorded
            if busy or (self._connections and not self._quit):
                idle_since = time.monotonic()
            left = idle_since + (0 if self._quit else self._patience) - time.monotonic()
            if left <= 0 and not busy:
                return
            pause = _RETRY if self._ending else _RECORD_RETRY if self._unrecorded else max(left, 0.05)
            for fd, mask in self._poll.poll(pause):
                if (handler := self._handlers.get(fd)) is not None:
                    handler(mask)
            if self._died:
                self._reap()
            if self._ending:
                self._finish()
            if self._unrecorded:
                self._record_late()
            while self._talkative:
                self._flush(self._talkative.pop())

    # --- commands -------------------------------------------------------------------------------------------

    def _start(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        pipes = self._two_pipes()
        try:
            command = self._launched(request, (self._nothing, pipes[1], pipes[3]), self._record)
        except BaseException:
            os.close(pipes[0])
            os.close(pipes[2])
            raise
        finally:
            os.close(pipes[1])
            os.close(pipes[3])
        for fd, stream in ((pipes[0], b"stdout"), (pipes[2], b"stderr")):
            os.set_blocking(fd, False)
            command.pipes[fd] = stream
            self._watch(fd, self._pipe_reader(command, fd))
        birth = {
            "pid": command.pid,
            "start_time": start_time(command.pid),
            "started": time.time_ns() // 10**6,
            "boot": request["boot"],
            "tag": command.tag,
        }
        try:
            command.born(birth)
        except OSError as error:
            command.done = self._forget
            self._end_all(command)
            raise LaunchError(error.errno or 5, "record the start") from error
        self._by_id[command.id] = command
        return birth

    def _exec(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        streams = connection.descriptors[:3]
        del connection.descriptors[:3]
        beside = self._by_id.get(request["beside"])
        try:
            if len(streams) != 3:
                raise LaunchError(9, "receive its input and output")
            if beside is None or beside.code is not None:
                raise LaunchError(3, "run beside a command that has ended")
            if beside.tag:
                request["order"]["of"] = beside.pid
            command = self._launched(request, tuple(streams), self._tell_session(connection))
        finally:
            for fd in streams:
                os.close(fd)
        command.groups = []  # only what this command left behind dies with it, not the whole container
        connection.commands.add(command)
        return {"pid": command.pid}

    def _launched(
        self,
        request: dict[str, Any],
        streams: tuple[int, ...],
        done: Callable[[Command, dict[str, Any]], None],
    ) -> Command:
        try:
            tag = 0 if "beside" in request else self._families.next_tag()
        except OSError as error:
            raise LaunchError(error.errno or 5, "tell its processes from others") from error
        command = Command(launch(request["order"], *streams), request, done)
        command.tag = tag
        self._commands[command.pid] = command
        self._families.add(command)
        return command

    def _kill(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        command = self._by_id.get(request["id"])
        if command is not None and command.code is None:
            if request.get("all"):
                self._end_all(command)
            os.kill(command.pid, request["signal"])
        return {}

    def _end_all(self, command: Command) -> None:
        """What escapes at this moment is ended when the command itself has ended."""
        orphans = self._families.left_behind(self._commands).get(command, [])
        self._families.kill(command, [command.pid, *orphans, *(other.pid for other in self._beside(command))])

    def _beside(self, command: Command) -> list[Command]:
        if not command.id:
            return []
        return [other for other in self._commands.values() if other.beside == command.id]

    def _hush(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        for command in connection.commands:
            kill_all([], command.mark, command.pid)
        return {}

    def _listen(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        connection.listens = True
        return self._inventory()

    def _inventory(self) -> dict[str, Any]:
        ended = {id: exit for id, (_, exit) in self._unrecorded.items()}
        return {"running": list(self._by_id), "ended": ended}

    def _leave(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        self._quit = True
        return {}

    @staticmethod
    def _two_pipes() -> tuple[int, int, int, int]:
        out = os.pipe()
        try:
            return *out, *os.pipe()
        except OSError:
            os.close(out[0])
            os.close(out[1])
            raise

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
        self._unwatch(fd)
        del command.pipes[fd]
        os.close(fd)

    def _wake(self, waking: socket.socket) -> None:
        self._died = True
        try:
            waking.recv(4096)
        except BlockingIOError:
            pass

    def _reap(self) -> None:
        self._died = False
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
        left = self._families.left_behind(self._commands)
        still = []
        for command in self._ending:
            if command.id and self._lives_on(command, left.get(command, [])):
                still.append(command)
                continue
            for fd in list(command.pipes):
                while self._read_pipe(command, fd):
                    pass
                if fd in command.pipes:
                    self._close_pipe(command, fd)
            self._by_id.pop(command.id, None)
            self._families.remove(command)
            exit, kills = command.exit()
            if kills:
                self._tell({"event": "oom", "id": command.id})
            command.done(command, exit)
        self._ending = still

    def _lives_on(self, command: Command, orphans: list[int]) -> bool:
        """Whether something of it was alive, and then it is killed."""
        beside = [other.pid for other in self._beside(command)]
        grouped = kill_all(command.groups, command.mark, command.pid) if command.groups else []
        if not (orphans or beside or grouped):
            return False
        self._families.kill(command, [*orphans, *beside])
        return True

    def _record(self, command: Command, exit: dict[str, Any]) -> None:
        """The exit is on record before anybody hears of it, or will be as soon as the disk has room. The file need
        not reach the disk: it outlives this process and the daemon, and nothing here outlives the machine."""
        try:
            command.ended(exit)
        except OSError:
            self._unrecorded[command.id] = (command, exit)
        self._tell({"event": "exited", "id": command.id, "exit": exit})

    def _record_late(self) -> None:
        for id, (command, exit) in list(self._unrecorded.items()):
            try:
                command.ended(exit)
            except OSError:
                return
            del self._unrecorded[id]

    def _tell_session(self, connection: Connection) -> Callable[[Command, dict[str, Any]], None]:
        def done(command: Command, exit: dict[str, Any]) -> None:
            connection.commands.discard(command)
            self._send(connection, {"event": "exec", "code": exit["code"]})

        return done

    def _forget(self, command: Command, exit: dict[str, Any]) -> None:
        """It was killed because nobody could be told of it."""

    # --- connections ----------------------------------------------------------------------------------------

    def _watch(self, fd: int, handler: Callable[[int], object]) -> None:
        self._poll.register(fd, _READ)
        self._handlers[fd] = handler

    def _unwatch(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._handlers[fd]

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            self._turn_away()
            return
        sock.setblocking(False)
        connection = Connection(sock)
        self._connections.add(connection)
        self._watch(connection.fd, lambda mask: self._talk(connection, mask))
        greeting = {"version": VERSION, "pid": os.getpid(), "tags": self._families.tagged}
        self._send(connection, greeting | self._inventory())

    def _turn_away(self) -> None:
        """No descriptor is left: whoever waits at the door would wake us for ever."""
        os.close(self._spare)
        try:
            self._listener.accept()[0].close()
        except OSError:
            pass
        self._spare = os.open("/dev/null", os.O_RDONLY)

    def _talk(self, connection: Connection, mask: int) -> None:
        if mask & _WRITE:
            self._flush(connection)
        if mask & ~_WRITE and connection in self._connections:
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

    def _tell(self, message: dict[str, Any]) -> None:
        for connection in self._connections:
            if connection.listens:
                self._send(connection, message)

    def _send(self, connection: Connection, message: dict[str, Any]) -> None:
        connection.outgoing += json.dumps(message).encode() + b"\n"
        self._talkative.add(connection)

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
        if connection.waits != bool(connection.outgoing):
            connection.waits = bool(connection.outgoing)
            self._poll.modify(connection.fd, _READ | _WRITE if connection.waits else _READ)

    def _hang_up(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._unwatch(connection.fd)
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
    lock = os.open("shim2.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    try:
        os.unlink("shim2.sock")
    except FileNotFoundError:
        pass
    os.umask(0o077)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("shim2.sock")
    listener.listen(64)
    listener.setblocking(False)
    problems = os.open("shim2.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.umask(0o022)  # which is what commands get
    os.chdir("/")
    may_open_many()
    shim = Shim(listener, patience)
    os.write(1, b"listening\n")
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(nothing, fd)
    os.dup2(problems, 2)
    shim.serve()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
