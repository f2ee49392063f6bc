"""Options and arguments that several commands share."""

from __future__ import annotations

from hivemind.cli.command import FLAG, INTEGER, SECONDS, Argument, Option

APP = Argument("NAME", "The app.", flag="--name", completes="app")
APPS = Argument("NAME", "The apps.", flag="--name", many=True, completes="app")
TARGET = Argument(
    "NAME",
    "An app, or one replica of it: `web.0`, an allocation's id or its beginning; `web.0/log` is a companion.",
    flag="--name",
    completes="target",
)
OUTPUT = Option(
    "--output",
    "How to print: table, wide, json, yaml or name.",
    short="-o",
    metavar="FORMAT",
    choices=("table", "wide", "json", "yaml", "name"),
)
PLAIN_OUTPUT = OUTPUT._replace(help="How to print: table, json or yaml.", choices=("table", "json", "yaml"))
ALL_PROJECTS = Option("--all-projects", "Of every project.", short="-A", kind=FLAG)
DETACH = Option("--detach", "Return at once instead of waiting until it is so.", short="-d", kind=FLAG)
TIMEOUT = Option("--timeout", "Give up waiting after this long (10m).", kind=SECONDS, metavar="TIME")
WAITING = (DETACH, TIMEOUT)
DRAINING = (
    Option("--deadline", "What is left after this long is stopped hard.", kind=SECONDS, metavar="TIME"),
    Option("--force", "Stop what is there hard, now.", kind=FLAG),
)
DRY_RUN = Option("--dry-run", "Show what would be done and change nothing.", kind=FLAG)
REPLICAS = Option("--replicas", "How many replicas run.", kind=INTEGER, metavar="N")

LOGS = (
    Option("--follow", "Keep printing what comes; Ctrl-C ends it.", short="-f", kind=FLAG),
    Option("--tail", "Only the last lines (a number, or all).", short="-n", metavar="N"),
    Option("--since", "Only what is newer: 10m, or 2026-01-31T12:00:00Z.", metavar="TIME"),
    Option("--until", "Only what is older.", metavar="TIME"),
    Option("--timestamps", "Print the time of each line.", short="-t", kind=FLAG),
    Option("--no-prefix", "Do not print which replica wrote a line.", kind=FLAG),
    Option("--previous", "Of the instance that ended last, before the one that runs.", short="-p", kind=FLAG),
    Option(
        "--grep", "Only lines in which this regular expression is found ((?i) ignores case).", metavar="REGEX"
    ),
    Option(
        "--container",
        "Of this companion of replicas instead of the app's own container.",
        short="-c",
        metavar="NAME",
    ),
)
EXEC = (
    Option("--interactive", "Pass this terminal's input on.", short="-i", kind=FLAG),
    Option("--tty", "Give the command a terminal.", short="-t", kind=FLAG),
    Option("--env", "Set a variable.", short="-e", metavar="K=V", many=True),
    Option("--user", "Run as this user.", short="-u", metavar="USER"),
    Option("--workdir", "Run in this directory.", short="-w", metavar="DIR"),
    Option(
        "--container", "In this companion instead of the app's own container.", short="-c", metavar="NAME"
    ),
)
COMMAND_LINE = Argument("COMMAND", "The command and its arguments.", rest=True)

PULL = Option(
    "--pull",
    "When the registry is asked: if the node lacks the image (missing), always, never.",
    metavar="WHEN",
    choices=("missing", "always", "never"),
)
