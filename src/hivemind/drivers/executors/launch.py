"""What an engine is given to run: one script, which is the same for all of them.

In `<directory>/handed`, which only the daemon's user can read, are

    script      what the engine starts; it can be started once only, however often the engine tries
    variables   of the job, secrets among them; deleted as soon as they were read
    stdout stderr
    name        what the engine calls the job, once it has it
    begun/node  where it began
    stop        TERM or KILL: written to end it
    told        it was the engine that asked it to end
    exit        how it ended: `exit 3`, `timeout 143`, `canceled 143`, `lost`, `start no such directory`

The script itself sees to time limits and to graceful ends: engines differ in both, and count limits by the minute.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import signal
from pathlib import Path

from hivemind.drivers.executors.contract import Job, Progress, Stream
from hivemind.errors import Invalid

MOST = 1 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PRIVATE = 0o600

_SCRIPT = """\
#!/bin/sh
# Written by Hivemind for one attempt of one task.
place={place} limit={limit} grace={grace}
umask 077
cd "$place" || exit 126
exec </dev/null >>stdout 2>>stderr

ended() {{ echo "$*" >exit.new && mv exit.new exit; }}

[ ! -e stop ] || {{ ended canceled 143; exit 143; }}
mkdir begun 2>/dev/null || {{ [ -e exit ] || ended lost; exit 75; }}
uname -n >begun/node
. ./variables && rm -f variables || {{ ended start its variables cannot be read; exit 126; }}
export HIVEMIND_HANDED="$place"
cd {workdir} || {{ cd "$place" && ended start its working directory is not there; exit 126; }}

setsid {command} &
task=$!
cd "$place"
trap 'echo TERM >stop; : >told' TERM INT

{{
  began=$(date +%s) asked=
  while sleep 0.3; kill -s 0 -- "-$task" 2>/dev/null; do
    now=$(date +%s)
    if [ "$limit" -gt 0 ] && [ $((now - began)) -gt "$limit" ] && [ ! -e stop ]; then
      : >timed
      echo TERM >stop
    fi
    [ -e stop ] || continue
    if [ -z "$asked" ]; then
      asked=$now
      kill -s TERM -- "-$task" 2>/dev/null
    fi
    if [ "$(cat stop)" = KILL ] || [ $((now - asked)) -gt "$grace" ]; then
      kill -s KILL -- "-$task" 2>/dev/null
    fi
  done
}} &
watcher=$!

while :; do
  wait "$task"
  code=$?
  kill -0 "$task" 2>/dev/null || break
done
kill -s KILL -- "-$task" 2>/dev/null
kill "$watcher" 2>/dev/null
if [ -e timed ]; then ended timeout "$code"
elif [ -e stop ]; then ended canceled "$code"
else ended exit "$code"
fi
exit "$code"
"""


def place(job: Job) -> Path:
    return Path(job.directory) / "handed"


def prepare(job: Job, prefix: tuple[str, ...] = ()) -> Path:
    """The script, written anew. `prefix` starts the members of a gang. Raises `Invalid`."""
    for name in job.env:
        if not _NAME.match(name):
            raise Invalid(
                f"a variable named {name!r} cannot be given to an engine", hint="use letters, digits and _"
            )
    folder = place(job)
    folder.mkdir(mode=0o700, exist_ok=True)
    script = _SCRIPT.format(
        place=shlex.quote(str(folder)),
        workdir=shlex.quote(job.workdir or job.directory),
        limit=math.ceil(job.timeout),
        grace=math.ceil(job.grace),
        command=shlex.join((*prefix, *job.argv)),
    )
    _write(folder / "script", script)
    _write(folder / "variables", "".join(f"export {name}={shlex.quote(v)}\n" for name, v in job.env.items()))
    return folder / "script"


def note_name(job: Job, name: str) -> None:
    _write(place(job) / "name", name)


def noted_name(job: Job) -> str | None:
    return _text(place(job) / "name") or None


def began_on(job: Job) -> str:
    """The machine; empty: it did not begin."""
    return (_text(place(job) / "begun" / "node") or "").strip()


def ask(job: Job, how: str) -> None:
    """`TERM` or `KILL`."""
    with contextlib.suppress(FileNotFoundError):
        _write(place(job) / "stop", how)


def asked(job: Job) -> str:
    return (_text(place(job) / "stop") or "").strip()


def told_by_engine(job: Job) -> bool:
    return (place(job) / "told").exists()


def outcome(job: Job) -> Progress | None:
    """How it ended; None: it has not, or the script could not tell."""
    said = _text(place(job) / "exit")
    if said is None:
        return None
    cause, _, rest = said.strip().partition(" ")
    nodes = (began_on(job),) if began_on(job) else ()
    if cause == "start":
        return Progress(standing="ended", cause="start", reason=rest, nodes=nodes)
    if cause == "lost":
        reason = "the engine began it a second time, after it had lost the first"
        return Progress(standing="ended", cause="lost", reason=reason, nodes=nodes)
    code = int(rest) if rest.isdecimal() else 0
    if cause == "exit":
        return exited(code, nodes)
    if cause == "timeout":
        return Progress(
            standing="ended", cause="timeout", exit_code=code, reason="its time was over", nodes=nodes
        )
    return Progress(standing="ended", cause="canceled", exit_code=code, nodes=nodes)


def exited(code: int, nodes: tuple[str, ...] = ()) -> Progress:
    """An exit code as a shell tells it."""
    if code <= 128:
        return Progress(standing="ended", exit_code=code, nodes=nodes)
    number = code - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return Progress(standing="ended", cause="signal", exit_code=code, reason=f"ended by {name}", nodes=nodes)


def output(job: Job, stream: Stream, offset: int) -> bytes:
    try:
        with open(place(job) / stream, "rb") as file:
            file.seek(offset)
            return file.read(MOST)
    except FileNotFoundError:
        return b""


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "w") as file:
        file.write(text)
    os.replace(draft, path)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
