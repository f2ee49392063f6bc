"""A run as it is and then as it changes, as server-sent events.

    event: run    the run, whenever it or the count of its tasks changed
    event: task   one of its tasks, whenever it changed
    event: gone   {"path": …}: a task that a retry took back
    event: ready  all of the above were sent once: from here on they tell changes
    event: end    the run has ended; nothing follows

Who connects again is sent everything anew, so nothing can be missed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response

from hivemind.api.endpoint import Call, encode_line
from hivemind.api.jobs.documents import reason_of, run_document, task_document, task_documents
from hivemind.api.jobs.lookup import find_run
from hivemind.api.jobs.watching import watching
from hivemind.api.streams import Streamed, rang
from hivemind.model.run import Run, TaskRun, TaskRunDocument, task_key

_EXPLAINED = 200
"""Of so many tasks that wait it is looked, now and then, whether they wait for something else by now."""


async def watch(call: Call) -> Response:
    run = find_run(call.state, call.params["project"], call.params["name"])
    return Streamed(
        _stream(call, run.id), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def _stream(call: Call, id: str) -> AsyncIterator[bytes]:
    state, backend = call.state, call.backend
    with call.streams.bell() as bell, watching(backend, id, bell) as watcher:
        run = state.runs[id]
        waiting: dict[str, str] = {}
        yield _event("run", run_document(backend, run), state.sequence)
        for document in task_documents(backend, run):
            _remember(waiting, document)
            yield _event("task", document)
        yield _event("ready", {})
        while not call.streams.closing and call.admitted:
            changed, paths = watcher.take()
            now = state.runs.get(id)
            if now is None:
                break
            for path in paths:
                yield _task(call, now, path, waiting)
            if changed or paths:
                yield _event("run", run_document(backend, now), state.sequence)
            if now.state.ended:
                break
            if not await rang(bell, call.settings.heartbeat):
                yield b": alive\n\n"
                for path in _explained_otherwise(call, now, waiting):
                    yield _task(call, now, path, waiting)
        else:
            return
        yield _event("end", {})


def _task(call: Call, run: Run, path: str, waiting: dict[str, str]) -> bytes:
    task = call.state.task_runs.get(task_key(run.id, path))
    if task is None:
        waiting.pop(path, None)
        return _event("gone", {"path": path})
    document = task_document(call.backend, run, task)
    _remember(waiting, document)
    return _event("task", document)


def _remember(waiting: dict[str, str], document: TaskRunDocument) -> None:
    if document.state in ("pending", "blocked", "queued") and len(waiting) < _EXPLAINED:
        waiting[document.path] = document.reason
    else:
        waiting.pop(document.path, None)


def _explained_otherwise(call: Call, run: Run, waiting: dict[str, str]) -> list[str]:
    """What a task waits for is written nowhere, so no change tells of it."""
    found = []
    for path, told in waiting.items():
        task: TaskRun | None = call.state.task_runs.get(task_key(run.id, path))
        if task is not None and reason_of(call.state, task) != told:
            found.append(path)
    return found


def _event(name: str, data: object, id: int | None = None) -> bytes:
    numbered = b"" if id is None else b"id: %d\n" % id
    return b"%sevent: %s\ndata: %s\n" % (numbered, name.encode(), encode_line(data))
