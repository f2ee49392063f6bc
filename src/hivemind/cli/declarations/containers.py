"""The verbs that people know from docker, with docker's meanings."""

from __future__ import annotations

from hivemind.cli.command import FLAG, SECONDS, Argument, Command, Option
from hivemind.cli.declarations.docker import NOT_HERE
from hivemind.cli.declarations.looking import CONTAINER, DETACH_KEYS
from hivemind.cli.declarations.options import (
    ALL_PROJECTS,
    APPS,
    COMMAND_LINE,
    EXEC,
    LOGS,
    OUTPUT,
    TARGET,
    TIMEOUT,
    WAITING,
)
from hivemind.cli.declarations.spec import REPLICA, TERMINAL

SECTION = "Containers (docker's meanings)"

COMMANDS = (
    Command(
        ("run",),
        "Run an image.",
        "hivemind.cli.commands.run:run",
        (
            Argument("IMAGE", "The image.", completes="image"),
            Argument("COMMAND", "Replaces the image's command.", required=False, rest=True, eager=True),
        ),
        (
            Option("--detach", "Run it in the background and print its name.", short="-d", kind=FLAG),
            Option("--rm", "Remove it when it has ended.", kind=FLAG),
            Option("--name", "Its name (one is made up).", metavar="NAME"),
            *REPLICA,
            *TERMINAL,
            DETACH_KEYS,
            TIMEOUT,
        ),
        (
            "run --rm busybox echo hello",
            "run -d --name web -p 8080:80 nginx",
            "run -e MODE=test --memory 64MiB busybox env",
            "run --rm -it busybox sh",
            "run --rm -i busybox cat",
        ),
        "Deploys an app of one replica that is not restarted (unless --restart says so). Without -d, prints what"
        " it writes and exits with its exit code; Ctrl-C stops it. With -it this terminal is its terminal: Ctrl-C goes"
        " to it, and ctrl-p ctrl-q leaves it running. With -i alone, what is piped in is its input.",
        SECTION,
        foreign=(*NOT_HERE, ("--image", "the image is the first word that is no option: hivemind run IMAGE")),
    ),
    Command(
        ("ps",),
        "List running replicas.",
        "hivemind.cli.commands.containers:ps",
        (),
        (
            Option("--all", "Ended ones, and tasks of jobs, too.", short="-a", kind=FLAG),
            Option("--jobs", "Running tasks of jobs, too.", kind=FLAG),
            Option("--quiet", "Only ids.", short="-q", kind=FLAG),
            OUTPUT,
            ALL_PROJECTS,
        ),
        ("ps", "ps -a", "ps --jobs"),
        section=SECTION,
    ),
    Command(
        ("logs",),
        "Show what apps or replicas wrote.",
        "hivemind.cli.commands.logs:logs",
        (TARGET._replace(many=True),),
        LOGS,
        (
            "logs -f web",
            "logs --tail 100 web.0",
            "logs --previous web.0",
            "logs --since 1h --grep 'ERROR|WARN' web worker",
        ),
        section=SECTION,
    ),
    Command(
        ("exec",),
        "Run a command inside a running replica.",
        "hivemind.cli.commands.exec:execute",
        (TARGET, COMMAND_LINE),
        EXEC,
        ("exec -it web sh",),
        section=SECTION,
    ),
    Command(
        ("stop",),
        "Stop apps.",
        "hivemind.cli.commands.app:stop",
        (APPS,),
        WAITING,
        ("stop web",),
        section=SECTION,
    ),
    Command(
        ("start",),
        "Start stopped apps.",
        "hivemind.cli.commands.app:start",
        (APPS,),
        WAITING,
        ("start web",),
        section=SECTION,
    ),
    Command(
        ("restart",),
        "Replace the replicas of apps by fresh ones.",
        "hivemind.cli.commands.app:restart",
        (APPS,),
        WAITING,
        ("restart web",),
        section=SECTION,
    ),
    Command(
        ("rm",),
        "Remove stopped apps.",
        "hivemind.cli.commands.containers:rm",
        (APPS,),
        (Option("--force", "Running ones too.", short="-f", kind=FLAG), *WAITING),
        ("rm web", "rm -f web"),
        section=SECTION,
    ),
    Command(
        ("stats",),
        "Show what replicas use.",
        "hivemind.cli.commands.stats:stats",
        (Argument("NAME", "Apps or replicas; all without.", required=False, many=True, completes="target"),),
        (
            CONTAINER._replace(help="Only companions of this name."),
            Option("--no-stream", "Print once.", kind=FLAG),
            Option("--interval", "Time between two looks (2s).", kind=SECONDS, metavar="TIME"),
            ALL_PROJECTS,
            OUTPUT._replace(choices=("table", "wide", "json"), help="How to print: table, wide or json."),
        ),
        ("stats", "stats --no-stream web"),
        section=SECTION,
    ),
    Command(
        ("events",),
        "Print what happens, as it happens.",
        "hivemind.cli.commands.events:events",
        (),
        (
            Option("--since", "Begin with what happened since: 10m, or 2026-01-31T12:00:00Z.", metavar="TIME"),
            Option("--until", "Stop there; a time that has passed prints and ends.", metavar="TIME"),
            Option("--filter", "Only where it holds: app=web, type=allocation.exited, level=warning.", short="-f",
                   metavar="K=V", many=True),
            Option("--type", "Only of this type: allocation.exited, or all of allocation.", metavar="TYPE"),
            Option("--follow", "Go on with what comes; so it is, unless --until has passed.", kind=FLAG),
            Option("--no-follow", "Print what is known and end.", kind=FLAG),
            OUTPUT._replace(choices=("table", "wide", "json"), help="How to print: table, wide or json."),
            ALL_PROJECTS,
        ),
        ("events", "events --since 1h --filter app=web --no-follow", "events --type allocation --since 10m"),
        "As in docker, follows by itself and -f is a filter: several for the same key mean one of them."
        " `hivemind get events` lists what was.",
        SECTION,
    ),
)  # fmt: skip
