"""The verbs that people know from kubectl, with kubectl's meanings. They work on every kind."""

from __future__ import annotations

from hivemind.cli.command import Argument, Command, Option
from hivemind.cli.declarations.options import ALL_PROJECTS, APP, DRAINING, DRY_RUN, OUTPUT, REPLICAS, WAITING

SECTION = "Resources (kubectl's meanings)"
_KIND = Argument(
    "KIND",
    "apps, jobs, runs, routines, circuits, allocations, deployments, configs, secrets, volumes, nodes, projects,"
    " principals, images or events.",
    completes="kind",
)
_NAME = Argument(
    "NAME", "Its name, or an id or the beginning of one.", required=False, many=True, completes="object"
)
_FILE = Option("--filename", "A file, a folder of them, or - for standard input.", short="-f", metavar="FILE",
               many=True, completes="file")  # fmt: skip
_LABEL = Option(
    "--selector", "Only those with this label.", short="-l", metavar="K[=V]", many=True, alias="--label"
)
_NODES = "hivemind.cli.commands.node"
_NODE = Argument("NODE", "The node.", flag="--name", completes="node")

COMMANDS = (
    Command(
        ("get",),
        "List things of a kind, or show some.",
        "hivemind.cli.commands.get:get",
        (_KIND, _NAME),
        (
            OUTPUT,
            ALL_PROJECTS,
            _LABEL,
            Option("--app", "Only what belongs to this app.", metavar="APP", completes="app"),
        ),
        ("get apps", "get runs", "get allocations --app web -o wide", "get app web -o yaml"),
        section=SECTION,
    ),
    Command(
        ("describe",),
        "Show everything about one thing, and why it is so.",
        "hivemind.cli.commands.describe:describe",
        (_KIND, _NAME._replace(required=True)),
        (),
        ("describe app web", "describe node node-1"),
        section=SECTION,
    ),
    Command(
        ("apply",),
        "Make it so as files say.",
        "hivemind.cli.commands.apply:apply",
        (),
        (_FILE, DRY_RUN, *WAITING),
        ("apply -f app.yaml", "apply -f manifests/ --dry-run", "get app web -o yaml | hivemind apply -f -"),
        "Files hold YAML or JSON documents with `kind`, `name` and what the kind has. All are read and checked"
        " before anything is changed.",
        SECTION,
    ),
    Command(
        ("delete",),
        "Remove things.",
        "hivemind.cli.commands.apply:delete",
        (_KIND._replace(required=False), _NAME),
        (_FILE, DRY_RUN, *WAITING),
        ("delete app web", "delete -f app.yaml"),
        section=SECTION,
    ),
    Command(
        ("scale",),
        "Change how many replicas run.",
        "hivemind.cli.commands.app:scale",
        (APP,),
        (REPLICAS, *WAITING),
        ("scale web --replicas 3",),
        section=SECTION,
    ),
    *(
        Command((verb,), summary, f"{_NODES}:{verb}", (_NODE,), (), (f"{verb} node-1",), section=SECTION)
        for verb, summary in (
            ("cordon", "Place nothing new on a node."),
            ("uncordon", "Let a node take new replicas again."),
        )
    ),
    Command(
        ("drain",),
        "Move everything away from a node and place nothing new there.",
        f"{_NODES}:drain",
        (_NODE,),
        (*DRAINING, *WAITING),
        ("drain node-1", "drain node-1 --deadline 10m"),
        section=SECTION,
    ),
)
