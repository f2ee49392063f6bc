"""What the task runs of a run may look like at rest, said a second time and naively: each is looked at by itself, with
no history, and must follow from what the definition says and what the others have come to."""

from __future__ import annotations

from collections.abc import Iterator

from dict_book import DictBook
from hivemind.jobs.plan import PASSED, Node, beside, child, is_member, member
from hivemind.model.run import TaskRun, TaskState
from hivemind.model.run import TaskState as S

SHELVED = ("it is to be done again", "some of it is to be done again")
RAN = (S.QUEUED, S.RUNNING, S.SUCCEEDED, S.LOST, S.TIMED_OUT)


def unjustified(book: DictBook) -> list[str]:
    return [f"{task.path} is {task.state} ({task.reason}): {fault}" for task, fault in faults(book)]


def faults(book: DictBook) -> Iterator[tuple[TaskRun, str]]:
    for task in book.tasks.values():
        if task.state is S.SKIPPED and task.reason in SHELVED:
            continue
        node = book.plan.node(task.path)
        if not is_member(task.path) and not node.hook:
            yield from ((task, fault) for fault in needs(book, task, node))
        yield from ((task, fault) for fault in condition(task, node))
        if book.plan.role(task.path) in ("group", "fan-out"):
            parts = [part for part in parts_of(book, task, node) if part is not None]
            yield from ((task, fault) for fault in group(book, task, node, parts))
    root = TaskRun(
        run="r1", path="", state=TaskState(book.run.state), started=book.run.started, reason=book.run.reason
    )
    parts = [part for part in parts_of(book, root, book.plan.root) if part is not None]
    yield from ((root, fault) for fault in group(book, root, book.plan.root, parts))


def needs(book: DictBook, task: TaskRun, node: Node) -> Iterator[str]:
    found = [meets(book, task, needed, need) for needed, need in node.needs.items()]
    undecided, unmet = None in found, False in found
    wrong = {
        S.PENDING: unmet or not undecided,
        S.SKIPPED: not unmet and (undecided or not node.task.if_),
        **dict.fromkeys(RAN, undecided or unmet),
    }
    if wrong.get(task.state):
        yield f"its needs are {found}"


def meets(book: DictBook, task: TaskRun, needed: Node, need: str) -> bool | None:
    other = book.tasks.get(beside(task.path, needed))
    if other is None or not other.state.decided:
        return None
    well = other.state is S.SUCCEEDED or (other.state.failure and needed.task.allow_failure)
    left_out = other.state is S.SKIPPED and bool(other.ready)
    return {
        "success": well,
        "failure": other.state.failure,
        "done": other.state is S.SUCCEEDED or other.state.failure,
        "always": True,
        PASSED: well or left_out,
        "result == 'skipped'": other.state is S.SKIPPED,
        "exit_code == 1": other.exit_code == 1,
        "outputs.n == '1'": other.outputs.get("n") == "1",
    }.get(need, False)


def condition(task: TaskRun, node: Node) -> Iterator[str]:
    if task.state not in RAN:
        return
    if node.task.if_ == "false" and not is_member(task.path):
        yield "its condition is false"
    if node.task.if_ == "index != 1" and task.index == 1:
        yield "its condition is false"


def parts_of(book: DictBook, task: TaskRun, node: Node) -> Iterator[TaskRun | None]:
    if node.fans and not is_member(task.path):
        yield from (book.tasks.get(member(task.path, index)) for index in range(task.total))
    else:
        yield from (book.tasks.get(child(task.path, name)) for name in (*node.children, *node.hooks))


def group(book: DictBook, task: TaskRun, node: Node, parts: list[TaskRun]) -> Iterator[str]:
    """Of a group, a fan-out or the run."""
    hooks = {part.path.rpartition(".")[2]: part for part in parts if book.plan.node(part.path).hook}
    tasks = [part for part in parts if part.path not in {hook.path for hook in hooks.values()}]
    undecided = [p.path for p in tasks if not p.state.decided]
    waiting = [hook for hook in hooks.values() if hook.state is S.PENDING]
    busy = [hook for hook in hooks.values() if not hook.state.decided and hook not in waiting]
    if busy and undecided:
        yield f"{busy[0].path} began before {undecided}"
    if task.state is S.RUNNING and not (undecided or busy):
        yield "nothing of it is left to be done"
    if not task.state.decided or not task.started:
        return
    if undecided or busy or waiting:
        yield f"{undecided} are undecided, {[h.path for h in (*busy, *waiting)]} did not have their turn"
    if "finally" in hooks and hooks["finally"].state is S.SKIPPED:
        yield "finally did not run"
    failures = [p.path for p in tasks if p.state.failure and (is_member(p.path) or not allowed(book, p))]
    if failures and task.state is S.SUCCEEDED:
        yield f"{failures} failed"
    if task.state is S.SUCCEEDED:
        yield from good(task, node, tasks, hooks)
    elif task.state is S.FAILED and not failures and not any(hook.state.failure for hook in hooks.values()):
        yield "nothing of it failed"


def good(task: TaskRun, node: Node, tasks: list[TaskRun], hooks: dict[str, TaskRun]) -> Iterator[str]:
    if canceled := [p.path for p in (*tasks, *hooks.values()) if p.state is S.CANCELED]:
        yield f"{canceled} were canceled"
    if failed := [hook.path for hook in hooks.values() if hook.state.failure]:
        yield f"{failed} failed"
    if node.fans and not is_member(task.path) and (task.made, len(tasks)) != (task.total, task.total):
        yield f"only {task.made} of its members were made"
    if "on_success" in hooks and hooks["on_success"].state is not S.SUCCEEDED:
        yield "on_success did not run"
    if "on_failure" in hooks and hooks["on_failure"].state is not S.SKIPPED:
        yield "on_failure ran"


def allowed(book: DictBook, part: TaskRun) -> bool:
    return book.plan.node(part.path).task.allow_failure
