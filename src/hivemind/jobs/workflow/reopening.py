"""Reopening: a group that had ended goes on, because some of what is in it is to be done again."""

from __future__ import annotations

from hivemind.jobs.workflow.shelving import AGAIN, is_put_off, shelve, shelved
from hivemind.jobs.workflow.turn import Turn, deadline, fans
from hivemind.model.run import TaskRun, TaskState


def reopen(turn: Turn, group: TaskRun, by: str = "") -> None:
    """Its hooks have their turn again; a fan-out comes to all of its members again."""
    due = deadline(turn, turn.node(group), group.path)
    turn.turn(group, TaskState.RUNNING, AGAIN, by, ended=0, due=due, outputs={}, spent=0, made=0)
    for hook in list(turn.hooks(group)):
        shelve(turn, hook)
        turn.make(hook.path)


def take_up(turn: Turn, group: TaskRun) -> None:
    """One that was put off has its turn: what is shelved in it is made, what is put off in it goes on."""
    reopen(turn, group)
    turn.reopened.append(group.path)
    if fans(turn.node(group), group.path):
        return  # it comes to its members by itself
    for part in list(turn.tasks(group)):
        if is_put_off(part):
            take_up(turn, part)
        elif shelved(part):
            turn.make(part.path, AGAIN)
            turn.fresh.append(part.path)
