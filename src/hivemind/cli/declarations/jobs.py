"""`hivemind job …`, `circuit …`, `routine …`: work that must get done."""

from __future__ import annotations

from hivemind.cli.command import FLAG, INTEGER, Argument, Command, Group, Option
from hivemind.cli.declarations.options import ALL_PROJECTS, DRY_RUN, OUTPUT, PLAIN_OUTPUT

_JOBS = "hivemind.cli.commands.jobs"
_RUNS = "hivemind.cli.commands.runs"
_PICTURES = "hivemind.cli.commands.pictures"
_ROUTINES = "hivemind.cli.commands.routines"
_CIRCUITS = "hivemind.cli.commands.circuits"

GROUPS = (
    Group("job", "Jobs: work that must get done. Graphs of tasks, on schedules or on events.", "Nouns"),
    Group("routine", "Routines: reusable pieces that tasks call, in versions.", "Nouns"),
    Group("circuit", "Circuits: what tasks depend on outside, and whether it is worth trying.", "Nouns"),
)

_JOB = Argument("NAME", "The job.", flag="--name", completes="job")
_RUN = Argument(
    "RUN", "A run: nightly-7, an id or its beginning, or a job's name for its newest run.", completes="run"
)
_TASK = Argument("TASK", "A task, group or fan-out of it: get, ml.train, build[2].", required=False,
                 completes="task")  # fmt: skip
_FILE = Argument("FILE", "A definition in YAML, JSON or Python; - for standard input.", completes="file")
_DETACH = Option("--detach", "Return as soon as it is started.", short="-d", kind=FLAG)
_ASCII = Option("--ascii", "Draw with plain letters only.", kind=FLAG)
_WATCH = Option("--watch", "Repaint it until the run has ended.", short="-w", kind=FLAG)
_SCHEDULE = Option("--schedule", "Only this schedule, by its name or number.", metavar="NAME")
_REASON = Option("--reason", "Why; it stands in the history.", metavar="TEXT", short="-m")
_CODES = (
    "Exits with 0 when the run succeeded, 1 when it failed (or its job's limits did not let it begin), 124 when it took"
    " too long, and 130 when it was canceled. Ctrl-C leaves the run going and says how to cancel it."
)

COMMANDS = (
    Command(
        ("job", "run"),
        "Start a run, and follow it until it has ended.",
        f"{_JOBS}:run",
        (
            Argument("JOB", "The name of a job, or a file that defines one: it is put first.",
                     completes="job-or-file"),
        ),
        (
            Option("--input", "An input; numbers, lists and objects as JSON.", short="-i", metavar="K=V", many=True),
            Option("--input-file", "An input whose value is what a file holds.", metavar="K=FILE", many=True),
            Option("--priority", "high, medium, low, or a number from 0 to 100.", metavar="PRIORITY"),
            Option("--key", "The same key starts no second run.", metavar="KEY"),
            Option("--follow", "Print what its tasks write instead of how they are.", short="-f", kind=FLAG),
            _DETACH,
            DRY_RUN,
            _ASCII,
        ),
        (
            "job run nightly",
            "job run etl.yaml --input day=mon",
            "job run train --input 'sizes=[1,2,4]' --priority high -f",
            "job run report --key 2026-12-24 -d",
        ),
        _CODES,
        alias="trigger",
    ),
    Command(
        ("job", "put"),
        "Make jobs, or change what they are; running runs keep what they began with.",
        f"{_JOBS}:put",
        (_FILE._replace(many=True),),
        (DRY_RUN, OUTPUT),
        ("job put nightly.yaml", "job put jobs/*.yaml --dry-run"),
        alias="apply",
    ),
    Command(
        ("job", "ls"),
        "List jobs, and what became of their newest runs.",
        f"{_JOBS}:ls",
        (),
        (OUTPUT, ALL_PROJECTS),
        ("job ls", "job ls -A -o wide"),
        alias="list",
    ),
    Command(
        ("job", "info"),
        "Show a job: what starts it, its last runs, when it is due.",
        f"{_JOBS}:info",
        (_JOB,),
        (PLAIN_OUTPUT,),
        ("job info nightly", "job info nightly -o yaml"),
        alias="get",
    ),
    Command(
        ("job", "rm"),
        "Remove jobs; their live runs are canceled.",
        f"{_JOBS}:rm",
        (_JOB._replace(many=True, flag=""),),
        (DRY_RUN,),
        ("job rm nightly",),
        alias="delete",
    ),
    Command(
        ("job", "status"),
        "Show a run as the tree of its tasks; without RUN, the newest runs.",
        f"{_RUNS}:status",
        (_RUN._replace(required=False),),
        (
            _WATCH,
            Option("--all", "All members of fan-outs, not only those that need attention.", short="-a", kind=FLAG),
            _ASCII,
            OUTPUT,
        ),
        ("job status nightly", "job status nightly-7 -w", "job status"),
        _CODES + " Without --watch it exits with 0.",
    ),
    Command(
        ("job", "logs"),
        "Print what the tasks of a run wrote.",
        f"{_RUNS}:logs",
        (_RUN, _TASK),
        (
            Option("--follow", "Keep printing until the run has ended; new attempts join.", short="-f", kind=FLAG),
            Option("--attempt", "Only of attempts of this number.", kind=INTEGER, metavar="N"),
            Option("--tail", "Only the last lines (a number, or all).", short="-n", metavar="N"),
            Option("--since", "Only what is newer: 10m, or 2026-01-31T12:00:00Z.", metavar="TIME"),
            Option("--until", "Only what is older.", metavar="TIME"),
            Option("--timestamps", "Print the time of each line.", short="-t", kind=FLAG),
            Option("--no-prefix", "Do not print which task wrote a line.", kind=FLAG),
            Option("--grep", "Only lines in which this regular expression is found.", metavar="REGEX"),
        ),
        ("job logs nightly", "job logs -f nightly-7 ml.train", "job logs nightly-7 build --grep ERROR"),
    ),
    Command(
        ("job", "cancel"),
        "Cancel a run, or some of its tasks; `finally` still runs.",
        f"{_RUNS}:cancel",
        (_RUN,),
        (
            Option("--task", "Only this task or group.", metavar="TASK", many=True, completes="task"),
            Option("--kill", "Do not wait for what runs to end by itself.", kind=FLAG),
            _REASON,
            _DETACH,
        ),
        ("job cancel nightly-7", "job cancel nightly-7 --task ml.train --reason 'wrong data'"),
        alias="stop",
    ),
    Command(
        ("job", "retry"),
        "Let an ended run go on from what failed; outputs of all else are kept.",
        f"{_RUNS}:retry",
        (_RUN,),
        (
            Option("--from", "From this task on.", metavar="TASK", many=True, completes="task", into="start"),
            _DETACH,
            _ASCII,
        ),
        ("job retry nightly-7", "job retry nightly-7 --from ml.train"),
        _CODES,
    ),
    Command(
        ("job", "pause"),
        "Pause a job, a run, schedules or a queue.",
        f"{_RUNS}:pause",
        (Argument("NAME", "A job (nothing but people starts it) or a run (nothing of it begins).", required=False,
                  completes="job"),),
        (
            _SCHEDULE._replace(help="Only this schedule of the job.", many=True),
            Option("--queue", "The queue of this concurrency key; '' for all of the project.", metavar="KEY"),
        ),
        ("job pause nightly", "job pause nightly-7", "job pause nightly --schedule 0", "job pause --queue gpu"),
    ),
    *(
        Command(
            ("job", verb),
            summary,
            f"{_RUNS}:resume",
            (Argument("NAME", "A job or a run.", required=False, completes="job"),),
            (
                _SCHEDULE._replace(help="Only this schedule of the job.", many=True),
                Option("--queue", "The queue of this concurrency key; '' for all of the project.", metavar="KEY"),
            ),
            (f"job {verb} nightly", f"job {verb} nightly-7"),
        )
        for verb, summary in (
            ("resume", "Let a paused job, run, schedule or queue go on."),
            ("unpause", "The same as resume."),
        )
    ),
    Command(
        ("job", "approve"),
        "Say yes, or no, to an approval that a run waits for.",
        f"{_RUNS}:approve",
        (_RUN, _TASK._replace(help="Which approval; may be left out while only one waits.")),
        (
            Option("--reject", "Say no.", kind=FLAG),
            Option("--message", "What to say to it; it stands in the history.", short="-m", metavar="TEXT"),
        ),
        ("job approve release-3", "job approve release-3 deploy-gate --reject -m 'not on a Friday'"),
    ),
    Command(
        ("job", "history"),
        "Show every transition of a run and its tasks: when, to what, why, by whom.",
        f"{_RUNS}:history",
        (_RUN, _TASK),
        (PLAIN_OUTPUT,),
        ("job history nightly-7", "job history nightly-7 ml.train"),
    ),
    Command(
        ("job", "graph"),
        "Draw the graph of a run, a job or a file.",
        f"{_PICTURES}:draw_graph",
        (Argument("WHAT", "A run, a job, or a file that defines one.", completes="job-or-file"),),
        (
            Option("--format", "boxes, tree, mermaid or dot.", metavar="FORMAT",
                   choices=("boxes", "tree", "mermaid", "dot")),
            _WATCH,
            _ASCII,
        ),
        ("job graph nightly", "job graph etl.yaml --format mermaid", "job graph nightly-7 -w"),
        "What is needed stands above what needs it. A graph too wide for the terminal is drawn as a tree.",
    ),
    Command(
        ("job", "gantt"),
        "Draw a run over time: attempts, waiting, and the path that made it take so long.",
        f"{_PICTURES}:draw_gantt",
        (_RUN,),
        (_WATCH, _ASCII),
        ("job gantt nightly-7",),
    ),
    Command(
        ("job", "event"),
        "Raise an event: every job of the project with a trigger for it starts.",
        "hivemind.cli.commands.raising:event",
        (Argument("TYPE", "The event's type, as the triggers of jobs name it."),),
        (
            Option("--data", "What came with it: JSON, or @FILE that holds JSON; @- for standard input.",
                   metavar="JSON"),
            Option("--key", "The same key is the same event, and starts nothing twice.", metavar="KEY"),
            PLAIN_OUTPUT,
        ),
        (
            "job event order.paid",
            "job event order.paid --data '{\"total\": 12}' --key order-17",
            "job event report --data @report.json",
        ),
    ),
    Command(
        ("job", "backfill"),
        "Start a run for each time of a schedule in a range; what ran already is left out.",
        f"{_JOBS}:backfill",
        (_JOB,),
        (
            Option("--since", "From this time on: 2026-01-31, or 7d (ago).", metavar="TIME"),
            Option("--until", "Up to, but without, this time (now).", metavar="TIME"),
            _SCHEDULE,
            Option("--newest-first", "Begin at the end of the range.", kind=FLAG),
            DRY_RUN,
        ),
        ("job backfill nightly --since 2026-01-01 --until 2026-02-01 --dry-run", "job backfill nightly --since 7d"),
    ),
    Command(
        ("job", "schedules"),
        "Show when jobs are due.",
        f"{_JOBS}:schedules",
        (_JOB._replace(required=False),),
        (Option("--count", "How many of the times to come.", short="-n", kind=INTEGER, metavar="N"), PLAIN_OUTPUT),
        ("job schedules", "job schedules nightly -n 10"),
    ),
    Command(
        ("job", "artifacts"),
        "List the files that tasks of a run left, or fetch them.",
        f"{_RUNS}:artifacts",
        (_RUN, _TASK),
        (Option("--out", "Fetch them into this directory.", metavar="DIR", completes="file"), PLAIN_OUTPUT),
        ("job artifacts nightly-7", "job artifacts nightly-7 ml.train --out results"),
    ),
    Command(
        ("job", "queue"),
        "Show what waits for a place or a limit, in order, and why.",
        f"{_RUNS}:queue",
        (),
        (Option("--limit", "How many at most (100).", short="-n", kind=INTEGER, metavar="N"), PLAIN_OUTPUT),
        ("job queue", "job queue -n 20"),
    ),
    Command(("circuit", "ls"), "List circuits.", f"{_CIRCUITS}:ls", (), (OUTPUT, ALL_PROJECTS),
            ("circuit ls",), alias="list"),
    *(
        Command(
            ("circuit", verb),
            summary,
            f"{_CIRCUITS}:{verb}",
            (Argument("NAME", "The circuit.", completes="circuit"),),
            (_REASON,),
            (f"circuit {verb} database",),
            description=more,
        )
        for verb, summary, more in (
            ("open", "Let whatever needs it wait.", "It stays so until `circuit close` or `circuit auto`."),
            ("close", "Let whatever needs it try.", "It stays so until `circuit open` or `circuit auto`."),
            ("auto", "Leave it to itself again.", ""),
        )
    ),
    Command(("routine", "put"), "Put routines into the project's library; a changed one gets a new version.",
            f"{_ROUTINES}:put", (_FILE._replace(many=True),), (DRY_RUN, OUTPUT), ("routine put fetch.yaml",),
            alias="apply"),
    Command(("routine", "ls"), "List the routines of the library.", f"{_ROUTINES}:ls", (), (OUTPUT, ALL_PROJECTS),
            ("routine ls",), alias="list"),
    Command(("routine", "info"), "Show a routine.", f"{_ROUTINES}:info",
            (Argument("NAME", "The routine.", completes="routine"),), (PLAIN_OUTPUT,), ("routine info fetch",),
            alias="get"),
    Command(("routine", "rm"), "Remove routines that no job calls.", f"{_ROUTINES}:rm",
            (Argument("NAME", "The routines.", many=True, completes="routine"),), (DRY_RUN,), ("routine rm fetch",),
            alias="delete"),
)  # fmt: skip
