"""`hivemind app …`: long-lived services."""

from __future__ import annotations

from hivemind.cli.command import FLAG, Argument, Command, Group, Option
from hivemind.cli.declarations.docker import NOT_HERE
from hivemind.cli.declarations.options import (
    ALL_PROJECTS,
    APP,
    APPS,
    COMMAND_LINE,
    DRY_RUN,
    EXEC,
    LOGS,
    OUTPUT,
    REPLICAS,
    TARGET,
    WAITING,
)
from hivemind.cli.declarations.spec import REPLICA, TERMINAL

_HANDLERS = "hivemind.cli.commands.app"

GROUP = Group("app", "Apps: deploy, scale, look inside.", "Nouns")

COMMANDS = (
    Command(
        ("app", "deploy"),
        "Deploy an app, or change one.",
        f"{_HANDLERS}:deploy",
        (APP, Argument("COMMAND", "Replaces the image's command.", required=False, rest=True, dashed=True)),
        (
            Option("--image", "The image to run.", metavar="IMAGE", completes="image"),
            REPLICAS,
            Option("--command", "Replaces the image's command.", metavar="'CMD ARG…'", into="command_line"),
            *REPLICA,
            *TERMINAL,
            Option(
                "--replace",
                "Forget the app's present settings instead of keeping what is not named.",
                kind=FLAG,
            ),
            DRY_RUN,
            *WAITING,
            OUTPUT,
        ),
        (
            "app deploy --image nginx:latest --name web-app --service web.local --replicas 3 --port 8080:80",
            "app deploy web-app --image nginx:1.27 --health-http 80/ --memory 128MiB",
            "app deploy worker --image busybox -- sh -c 'while sleep 5; do date; done'",
        ),
        "Makes the app if there is none of that name. Otherwise changes what is named here and keeps the rest:"
        " a new revision replaces the replicas one by one, each only after the one before is healthy. An option"
        " that may be repeated replaces the whole list; an empty text (--command '') goes back to what the image says."
        " Waits until every replica is healthy.",
        foreign=NOT_HERE,
    ),
    Command(
        ("app", "scale"),
        "Change how many replicas run.",
        f"{_HANDLERS}:scale",
        (APP,),
        (REPLICAS, *WAITING),
        ("app scale --name web-app --replicas 3",),
    ),
    Command(
        ("app", "info"),
        "Show an app, its replicas and what happened to it.",
        f"{_HANDLERS}:info",
        (APP,),
        (OUTPUT,),
        ("app info --name web-app",),
    ),
    Command(
        ("app", "ls"),
        "List apps.",
        f"{_HANDLERS}:ls",
        (),
        (
            OUTPUT,
            ALL_PROJECTS,
            Option("--label", "Only those with this label.", short="-l", metavar="K[=V]", many=True),
            Option("--quiet", "Only names.", short="-q", kind=FLAG),
        ),
        ("app ls", "app ls -A -o wide"),
        alias="list",
    ),
    Command(
        ("app", "logs"),
        "Show what the replicas of an app wrote, ended ones too.",
        "hivemind.cli.commands.logs:logs",
        (TARGET,),
        LOGS,
        ("app logs --name web-app --tail 20", "app logs -f web-app"),
    ),
    Command(
        ("app", "exec"),
        "Run a command inside a replica.",
        "hivemind.cli.commands.exec:execute",
        (TARGET, COMMAND_LINE),
        EXEC,
        ("app exec -it web-app -- sh", "app exec web-app.1 cat /etc/hosts"),
        "Exits with the command's exit code. Given an app, takes its first running replica.",
    ),
    Command(
        ("app", "restart"),
        "Replace every replica by a fresh one, one by one.",
        f"{_HANDLERS}:restart",
        (APPS,),
        WAITING,
        ("app restart web-app",),
    ),
    Command(
        ("app", "stop"),
        "Stop all replicas; the app stays and can be started again.",
        f"{_HANDLERS}:stop",
        (APPS,),
        WAITING,
        ("app stop web-app",),
    ),
    Command(
        ("app", "start"),
        "Start a stopped app.",
        f"{_HANDLERS}:start",
        (APPS,),
        WAITING,
        ("app start web-app",),
    ),
    Command(
        ("app", "rm"),
        "Remove apps and everything of them.",
        f"{_HANDLERS}:rm",
        (APPS,),
        (DRY_RUN, *WAITING),
        ("app rm web-app",),
        alias="delete",
    ),
)
