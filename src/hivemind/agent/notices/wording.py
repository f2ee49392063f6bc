"""A notice in words, as people read it in a chat or a mail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hivemind.model.notice import Notice

_SAID = {
    "started": "has started",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "was canceled",
    "timed out": "timed out",
    "late": "is late",
    "approval": "waits for an approval",
}


def headline(notice: Notice) -> str:
    return f"{notice.run_name} {_SAID.get(notice.on, notice.on)} ({notice.project})"


def details(notice: Notice) -> list[str]:
    """Lines; the reason first, what to do next last."""
    payload = notice.payload
    lines = [str(payload["reason"])] if payload.get("reason") else []
    lines += [_task(task) for task in payload.get("failed_tasks", ())]
    for label, key in (("due", "due"), ("started", "started"), ("ended", "ended")):
        if payload.get(key):
            lines.append(f"{label} {_time(payload[key])}")
    if payload.get("started_by"):
        lines.append(f"started by {payload['started_by']}")
    return [*lines, next_step(notice)]


def next_step(notice: Notice) -> str:
    verb = {"approval": "approve", "failed": "logs", "timed out": "logs"}.get(notice.on, "status")
    return f"hivemind job {verb} {notice.run_name} --project {notice.project}"


def _task(task: dict[str, Any]) -> str:
    why = f": {task['reason']}" if task.get("reason") else ""
    return f"task {task.get('path')} {task.get('state')}{why}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
