"""Revisions and how they replace each other: `app history …`, `deployment …`, `rollout …` (kubectl's)."""

from __future__ import annotations

from hivemind.cli.command import FLAG, INTEGER, Argument, Command, Group, Option
from hivemind.cli.declarations.options import (
    ALL_PROJECTS,
    APP,
    DRY_RUN,
    OUTPUT,
    PLAIN_OUTPUT,
    TIMEOUT,
    WAITING,
)

_ROLLOUTS = "hivemind.cli.commands.rollouts"
_DEPLOYMENTS = "hivemind.cli.commands.deployment"

GROUPS = (
    Group("deployment", "Deployments: the changes of apps and how far they are.", "Nouns"),
    Group(
        "rollout", "Rollouts, as kubectl has them: status, history, undo, restart, pause, resume.", "Nouns"
    ),
)

_REVISION = Argument("REVISION", "Its number.")
_WATCHED = Argument("APP", "The app: web, app/web or deployment/web.", flag="--name", completes="app")
_ID = Argument("ID", "Its id or the beginning of it, or the name of an app for its latest.", flag="--id")

COMMANDS = (
    Command(
        ("app", "history"),
        "List the revisions of an app: who made which when, and what became of it.",
        f"{_ROLLOUTS}:history",
        (APP,),
        (PLAIN_OUTPUT,),
        ("app history web",),
    ),
    Command(
        ("app", "diff"),
        "Show how two revisions of an app differ.",
        f"{_ROLLOUTS}:diff",
        (
            APP,
            Argument("REVISION", "Its number; the one that runs if it is left out.", required=False),
            Argument("OTHER", "The other; the one that runs if it is left out.", required=False),
        ),
        (),
        ("app diff web 3 4", "app diff web 3"),
        "Exits with 1 when they differ, as diff does.",
    ),
    Command(
        ("app", "rollback"),
        "Go back to an earlier revision, and to what its configs and secrets held.",
        f"{_ROLLOUTS}:rollback",
        (APP,),
        (
            Option("--to", "The revision; the last good one that differs if it is left out.", kind=INTEGER,
                   metavar="REVISION", alias="--to-revision"),
            DRY_RUN,
            *WAITING,
        ),
        ("app rollback web", "app rollback web --to 3"),
        "Makes a new revision that is like the old one, so that it can be undone in the same way.",
    ),
    Command(("deployment", "ls"), "List deployments, the newest last.", f"{_DEPLOYMENTS}:ls", (),
            (OUTPUT, ALL_PROJECTS, Option("--app", "Only of this app.", metavar="APP", completes="app")),
            ("deployment ls", "deployment ls --app web"), alias="list"),
    Command(("deployment", "status"), "Show a deployment and how far it is.", f"{_DEPLOYMENTS}:status", (_ID,),
            (PLAIN_OUTPUT,), ("deployment status web", "deployment status --id 4k2m8x")),
    Command(
        ("rollout", "status"),
        "Watch the latest change of an app until it is done.",
        f"{_ROLLOUTS}:status",
        (_WATCHED,),
        (
            Option("--no-watch", "Say how it is now and end.", kind=FLAG),
            Option("--revision", "Fail if another revision takes the place of this one.", kind=INTEGER,
                   metavar="REVISION"),
            TIMEOUT,
        ),
        ("rollout status web", "rollout status deployment/web --timeout 2m"),
        "Exits with 0 when it is done, with 1 when it failed or another took its place.",
    ),
    Command(("rollout", "history"), "List the revisions of an app, or show one of them.", f"{_ROLLOUTS}:history",
            (_WATCHED,), (Option("--revision", "Show this one.", kind=INTEGER, metavar="REVISION"), PLAIN_OUTPUT),
            ("rollout history web", "rollout history web --revision 3")),
    Command(("rollout", "undo"), "Go back to an earlier revision.", f"{_ROLLOUTS}:rollback", (_WATCHED,),
            (Option("--to-revision", "The revision; the last good one that differs if it is left out.", kind=INTEGER,
                    metavar="REVISION", into="to"), DRY_RUN, *WAITING),
            ("rollout undo web", "rollout undo web --to-revision 3")),
    Command(("rollout", "restart"), "Replace every replica by a fresh one, one by one.", f"{_ROLLOUTS}:restart",
            (_WATCHED,), WAITING, ("rollout restart web",)),
    Command(("rollout", "pause"), "Let new revisions wait; scaling and healing go on.", f"{_ROLLOUTS}:pause",
            (_WATCHED,), (), ("rollout pause web",)),
    Command(("rollout", "resume"), "Go on with the revision that waits.", f"{_ROLLOUTS}:resume", (_WATCHED,), WAITING,
            ("rollout resume web",)),
)  # fmt: skip
