"""The verbs for looking into what runs: docker's where docker has them, kubectl's for the rest."""

from __future__ import annotations

from hivemind.cli.command import FLAG, SECONDS, Argument, Command, Option
from hivemind.cli.declarations.options import ALL_PROJECTS, PLAIN_OUTPUT, TARGET

SECTION = "Looking"
CONTAINER = Option(
    "--container", "Of this companion instead of the app's own container.", short="-c", metavar="NAME"
)
DETACH_KEYS = Option("--detach-keys", "The keys that leave a terminal (ctrl-p,ctrl-q).", metavar="KEYS")
_MANY = TARGET._replace(many=True, flag="")

COMMANDS = (
    Command(
        ("attach",),
        "Tie this terminal to what a replica runs.",
        "hivemind.cli.commands.attach:attach",
        (TARGET,),
        (DETACH_KEYS, Option("--no-stdin", "Only watch.", kind=FLAG), CONTAINER),
        ("attach shell", "attach --no-stdin web.0"),
        "Shows what its main process writes from now on, and types to it if it was started with -i. With a terminal"
        " (-t), ctrl-p ctrl-q leaves it running; ctrl-c goes to it. Without one, ctrl-c leaves.",
        SECTION,
    ),
    Command(
        ("top",),
        "Show processes of replicas; or what nodes and apps use.",
        "hivemind.cli.commands.top:top",
        (_MANY._replace(required=False, help="Apps or replicas; without, all nodes and apps."),),
        (
            Option("--output", "Columns, like pid,user,cmd (there are user, pid, ppid, stat, start, time, rss, cmd);"
                   " or json, yaml.", short="-o", metavar="COLUMNS"),
            Option("--sort", "Apps by cpu, memory or name.", metavar="BY", choices=("cpu", "memory", "name")),
            CONTAINER,
            ALL_PROJECTS,
        ),
        ("top", "top web.0", "top web -o pid,rss,cmd"),
        section=SECTION,
    ),
    Command(
        ("cp",),
        "Copy files into or out of a replica.",
        "hivemind.cli.commands.copy:copy",
        (
            Argument("SOURCE", "TARGET:PATH, a path here, or - for a tar archive.", completes="file"),
            Argument("TARGET", "The same.", completes="file"),
        ),
        (
            Option("--archive", "Keep owners.", short="-a", kind=FLAG),
            Option("--follow-link", "Copy what SOURCE, a link, leads to.", short="-L", kind=FLAG),
            Option("--quiet", "Say nothing.", short="-q", kind=FLAG),
            CONTAINER,
        ),
        (
            "cp web.0:/etc/hosts .",
            "cp page.html web:/usr/share/nginx/html/",
            "cp web:/var/log/. logs/",
            "cp web:/data backup/",
        ),
        "As docker cp: a directory goes into TARGET if that is one, and becomes it if there is nothing; SOURCE/. is"
        " what is inside it. Files copied in belong to root unless -a keeps their owners. Devices, sockets and pipes"
        " are left out.",
        SECTION,
    ),
    Command(
        ("inspect",),
        "Print all there is to know of anything, as JSON.",
        "hivemind.cli.commands.inspect:inspect",
        (Argument("NAME", "Names or ids of anything.", many=True, completes="target"),),
        (
            Option("--type", "Only of this kind.", metavar="KIND", completes="kind"),
            PLAIN_OUTPUT._replace(help="How to print: json or yaml.", choices=("json", "yaml")),
        ),
        ("inspect web", "inspect web.0 node-1", "inspect --type image nginx:latest -o yaml"),
        section=SECTION,
    ),
    Command(
        ("port",),
        "Show where ports of an app are published.",
        "hivemind.cli.commands.inspect:port",
        (TARGET, Argument("PORT", "Only of this one: 80, 53/udp.", required=False)),
        (),
        ("port web", "port web 80"),
        section=SECTION,
    ),
    Command(
        ("diff",),
        "Show which files a replica added (A), changed (C) or deleted (D).",
        "hivemind.cli.commands.inspect:diff",
        (TARGET,),
        (CONTAINER, PLAIN_OUTPUT._replace(help="How to print: json or yaml.", choices=("json", "yaml"))),
        ("diff web.0",),
        section=SECTION,
    ),
    Command(
        ("wait",),
        "Wait until something is so, or until replicas have ended.",
        "hivemind.cli.commands.wait:wait",
        (Argument("NAME", "Apps or replicas, or KIND/NAME of anything.", many=True, completes="target"),),
        (
            Option("--for", "ready, healthy, stopped, completed, deleted, state=STATE or jsonpath='{.path}'=value.",
                   metavar="CONDITION", into="condition"),
            Option("--timeout", "Give up after this long (30s with --for, never without).", kind=SECONDS,
                   metavar="TIME"),
        ),
        (
            "wait web --for=ready --timeout 2m",
            "wait job-7f3a",
            "wait run/nightly-7 --for=state=succeeded --timeout 1h",
            "wait app/web --for=jsonpath='{.status.phase}'=running",
        ),
        "With --for as kubectl: ends when it is so, for each of them. Without, as docker: prints the exit code of"
        " each when it has ended.",
        SECTION,
    ),
    Command(
        ("port-forward",),
        "Make ports of a replica ports of this machine.",
        "hivemind.cli.commands.forward:forward",
        (TARGET, Argument("PORTS", "[LOCAL:]REMOTE; :80 takes any free port here.", many=True)),
        (Option("--address", "Listen on this address of this machine (127.0.0.1).", metavar="ADDRESS", many=True),),
        ("port-forward web 8080:80", "port-forward db.0 :5432"),
        "Each connection goes through the daemon to the replica's own address, published or not. Ctrl-C ends it.",
        SECTION,
    ),
)  # fmt: skip
