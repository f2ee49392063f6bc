"""The job: work that must get done. A graph of tasks, what starts it, and how it is to be treated.

A task is commands, a container, a call of a routine, another job, an approval, or a group of further tasks. What
people write is brought into this one form by `jobs.definition`; the YAML keys are these names without a trailing
underscore.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from hivemind.model.app import RuntimeName
from hivemind.model.base import Document, Record, Spec
from hivemind.model.isolation import Isolation
from hivemind.model.mount import Mount
from hivemind.model.names import Name
from hivemind.model.network import NetworkOptions
from hivemind.model.quantity import Seconds
from hivemind.model.resource import Column, Resource
from hivemind.model.template import EnvFrom, EnvName, Resources, Stop

TaskId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}\Z",
        description="a letter, then letters, digits, - and _; at most 63",
    ),
]
RoutineId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}(@[0-9]{1,9})?\Z",
        description="a letter, then letters, digits, - and _; at most 63",
    ),
]
Ident = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}\Z", description="letters, digits and _; at most 63"),
]
"""The name of an input or output: it becomes the name of a variable."""
Script = Annotated[str, Meta(max_length=100_000, description="commands for the shell")]
Template = Annotated[str, Meta(max_length=10_000, description="text, in which ${{ … }} is replaced")]
Condition = Annotated[str, Meta(max_length=10_000, description="an expression")]
Priority = Annotated[int, Meta(ge=0, le=100)]
PRIORITIES = {"low": 25, "medium": 50, "high": 75}
"""What the words mean; a number from 0 to 100 says it exactly."""
Outcome = Literal["success", "failure", "done", "always"]


class Input(Spec, frozen=True, kw_only=True):
    type: Literal["string", "integer", "number", "boolean", "list", "object"] = "string"
    description: str = ""
    default: Any = None
    required: bool = False
    secret: bool = False
    """Sealed where it enters, never shown again; only whole values of variables may be made of it."""
    choices: tuple[Any, ...] = ()


class Step(Spec, frozen=True, kw_only=True, rename={"if_": "if", "with_": "with"}):
    """One of several commands of a task, all of which run one after the other in one place.

    Commands get values as variables only. `${{ steps.<id>.outputs.<name> }}`, as a whole value, is what an earlier
    step of the same task wrote to the file `$HIVEMIND_OUTPUT`."""

    id: TaskId | None = None
    name: str = ""
    run: Script | None = None
    shell: Literal["sh", "bash", "python"] = "sh"
    uses: str | None = None
    """A routine: `fetch` of this job or of the project's library, there also pinned: `fetch@2`."""
    with_: dict[Ident, Any] = {}
    env: dict[EnvName, Template] = {}
    workdir: str | None = None


class Routine(Spec, frozen=True, kw_only=True):
    """A reusable, parameterised piece: its inputs reach its commands as variables of their names."""

    description: str = ""
    inputs: dict[Ident, Input] = {}
    outputs: dict[Ident, Template] = {}
    """Each an expression over `inputs` and `steps`; without any, what its commands wrote to `$HIVEMIND_OUTPUT`."""
    env: dict[EnvName, Template] = {}
    run: Script | None = None
    shell: Literal["sh", "bash", "python"] = "sh"
    steps: tuple[Step, ...] = ()


class Retry(Spec, frozen=True, kw_only=True):
    """`max` further attempts after a failure that `on` names. Losing a node spends nothing of it but `losses`."""

    max: Annotated[int, Meta(ge=0, le=1000)] = 0
    delay: Seconds = 1.0
    backoff: Annotated[float, Meta(ge=1, le=100)] = 2.0
    max_delay: Seconds = 300.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Part of the delay by which it is shortened at most; which part follows from run, task and attempt."""
    on: tuple[str, ...] = ()
    """`exit`, `exit:3`, `exit:10-19`, `signal`, `signal:KILL`, `oom`, `timeout`, `start` (it could not be started),
    or an expression over `exit_code`, `signal`, `reason`, `attempt`. Empty: whatever made it fail."""
    losses: Annotated[int, Meta(ge=0, le=1000)] = 3
    """How often it may be begun anew because its node was lost, or it was preempted."""


class Concurrency(Spec, frozen=True, kw_only=True):
    """At most `limit` at a time of those whose `key` is the same. An empty key is the job's, or the task's, own."""

    key: Template = ""
    limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    behavior: Literal["queue", "cancel", "fail"] = "queue"
    """Of one too many: it waits, the oldest is canceled, or it fails."""


class Rate(Spec, frozen=True, kw_only=True):
    """At most `limit` starts in any period of `per` seconds, of those whose `key` is the same."""

    key: Template = ""
    limit: Annotated[int, Meta(ge=1, le=1_000_000)]
    per: Seconds = 1.0


class Circuit(Spec, frozen=True, kw_only=True):
    """When a dependency outside counts as down."""

    failures: Annotated[int, Meta(ge=1, le=1000)] = 5
    window: Seconds = 60.0
    cooldown: Seconds = 30.0
    """After that one task probes."""
    on: tuple[str, ...] = ()
    """Which failures count, as in `Retry.on`; empty: all of tasks that name it."""


class Approval(Spec, frozen=True, kw_only=True):
    """A person says yes or no."""

    message: Template = ""
    by: tuple[str, ...] = ()
    """Names of those who may; empty: everyone who may run jobs."""
    timeout: Seconds = 0.0
    default: Literal["reject", "approve"] = "reject"
    """What holds when the timeout has passed."""


class OutputSpec(Spec, frozen=True, kw_only=True):
    """`value`: an expression over the task's own `outputs` (what it wrote to `$HIVEMIND_OUTPUT` as `name=value`),
    or, of groups, over `tasks.<id>.outputs`. `file`: the text of that file. Neither: the key of the same name."""

    value: Template = ""
    file: str = ""
    type: Literal["string", "integer", "number", "boolean", "list", "object"] = "string"
    """All but strings are read as JSON."""


class Artifact(Spec, frozen=True, kw_only=True):
    """Files that outlive the task: kept on its node with its log, fetched by `hivemind job artifacts`."""

    path: str
    """A path or pattern in the task's files; relative ones from its working directory."""
    name: str = ""
    optional: bool = False


class Task(Spec, frozen=True, kw_only=True, rename={"if_": "if", "with_": "with", "finally_": "finally"}):
    """Exactly one of `run`, `steps`, `uses`, `job`, `approval`, `tasks`; or an `image` with its `command`."""

    description: str = ""
    # what it does
    run: Script | None = None
    shell: Literal["sh", "bash", "python"] = "sh"
    steps: tuple[Step, ...] = ()
    uses: str | None = None
    job: Name | None = None
    """Runs another job of the project and waits for it."""
    approval: Approval | None = None
    tasks: dict[TaskId, Task] = {}
    """A group."""
    sequence: bool = False
    """Of a group: each task needs the one before it, in the order written."""
    order: tuple[TaskId, ...] = ()
    """The order in which the tasks of a sequence were written; mappings travel sorted."""
    with_: dict[Ident, Any] = {}
    # where it does it
    image: Template = ""
    pull: Literal["missing", "always", "never"] = "missing"
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    """Arguments may hold ${{ … }}: each stays one argument. Not so behind a `-c`."""
    env: dict[EnvName, Template] = {}
    env_from: tuple[EnvFrom, ...] = ()
    user: str | None = None
    workdir: str | None = None
    mounts: tuple[Mount, ...] = ()
    resources: Resources = Resources()
    nodes: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Members of a gang: all start together, or none."""
    share_nodes: bool = False
    """Members of the gang may be on one node."""
    isolation: Isolation = Isolation()
    network: NetworkOptions = NetworkOptions()
    runtime: RuntimeName = "auto"
    """`auto`: process for plain commands, the node's default for images."""
    constraints: tuple[str, ...] = ()
    executor: str = "hive"
    """`hive`, `slurm`, `dask` or `ray`."""
    options: dict[str, Any] = {}
    """For the executor."""
    stop: Stop = Stop()
    # when it does it
    needs: dict[str, Annotated[str, Meta(max_length=10_000)]] = {}
    """Task of the same group, or of one around it -> an `Outcome`, or an expression over `result`, `outputs`,
    `exit_code` of that task."""
    if_: Condition = ""
    matrix: dict[Ident, Any] = {}
    """Name -> list of values, or an expression that gives one; all combinations run."""
    include: tuple[dict[str, Any], ...] = ()
    exclude: tuple[dict[str, Any], ...] = ()
    for_each: Any = None
    """A list, or an expression that gives one; each run has its value as `item`."""
    max_parallel: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    fail_fast: bool = True
    """Of a fan-out or group: the first failure cancels the others; without, they go on and it fails afterwards."""
    finally_: dict[TaskId, Task] = {}
    """Of a group: run when all else is decided, whatever the outcome."""
    on_failure: dict[TaskId, Task] = {}
    on_success: dict[TaskId, Task] = {}
    # how it is treated
    timeout: Seconds = 0.0
    """Of one attempt; of a group, approval or job: of the whole. Of what is fanned out: of each member."""
    retry: Retry = Retry()
    allow_failure: bool = False
    """Its failure counts as success for what comes after."""
    concurrency: Concurrency | None = None
    rate: Rate | None = None
    priority: Priority | None = None
    preemptible: bool = False
    circuits: tuple[str, ...] = ()
    """Dependencies outside without which it need not be tried."""
    outputs: dict[Ident, OutputSpec] = {}
    artifacts: tuple[Artifact, ...] = ()


class Schedule(Spec, frozen=True, kw_only=True):
    """One of `cron`, `every`, `at`."""

    name: Name | None = None
    """For its history; otherwise its number among the job's schedules."""
    cron: str | None = None
    """5 fields, or 6 beginning with seconds, or `@daily` and the like."""
    every: Seconds | None = None
    at: str | None = None
    """A time such as 2026-12-24T18:00, in `timezone` unless it names its own."""
    timezone: str = "UTC"
    overlap: Literal["allow", "forbid", "replace", "queue"] = "queue"
    """When it is due while a run that it started goes on."""
    missed: Literal["none", "last", "all"] = "last"
    """What of the times that passed while nobody could start it is made up for."""
    window: Seconds = 86_400.0
    """How long ago such a time may be."""
    jitter: Seconds = 0.0
    """Started up to so much later; how much follows from job and time."""
    since: str | None = None
    until: str | None = None
    inputs: dict[Ident, Any] = {}
    paused: bool = False


class Webhook(Spec, frozen=True, kw_only=True, rename={"if_": "if"}):
    """POST /v1/hooks/<project>/<job>/<name>, signed: `X-Hub-Signature-256` or `X-Hivemind-Signature` hold
    `sha256=` and the HMAC-SHA256 of the body in hexadecimal."""

    name: Name = "default"
    secret: Name
    """The project's secret that holds the key."""
    key: str = "key"
    if_: Condition = ""
    """Over `event`, the body."""
    inputs: dict[Ident, Template] = {}
    """Each made of `${{ event.… }}`."""


ADDRESSED = ("webhook", "file")
"""Types of events that nodes raise, for one job each; of any other type people post them."""


class EventTrigger(Spec, frozen=True, kw_only=True, rename={"if_": "if"}):
    """An event of that type was posted to the project."""

    type: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,200}\Z")]
    if_: Condition = ""
    inputs: dict[Ident, Template] = {}


class FileTrigger(Spec, frozen=True, kw_only=True, rename={"if_": "if"}):
    """A file that matches has arrived, and is not being written any more. `event.path`, `.name`, `.size`."""

    path: str
    """A pattern below the volume; without a volume an absolute one of the node, which needs the permission `bind`."""
    volume: Name | None = None
    node: Name | None = None
    settle: Seconds = 1.0
    """It counts as whole when it has not changed for so long."""
    if_: Condition = ""
    inputs: dict[Ident, Template] = {}


class JobTrigger(Spec, frozen=True, kw_only=True, rename={"if_": "if"}):
    """Another job's run has ended so. `event.run`, `.state`, `.outputs`."""

    name: Name
    states: tuple[Literal["succeeded", "failed", "canceled", "timed out"], ...] = ("succeeded",)
    if_: Condition = ""
    inputs: dict[Ident, Template] = {}


class AppTrigger(Spec, frozen=True, kw_only=True, rename={"if_": "if"}):
    """That happened to an app. `event.app`, `.revision`, `.reason`."""

    name: Name
    events: tuple[Literal["deployed", "deployment-failed", "replica-failed", "removed"], ...] = ("deployed",)
    if_: Condition = ""
    inputs: dict[Ident, Template] = {}


class Triggers(Spec, frozen=True, kw_only=True):
    schedule: tuple[Schedule, ...] = ()
    webhook: tuple[Webhook, ...] = ()
    event: tuple[EventTrigger, ...] = ()
    file: tuple[FileTrigger, ...] = ()
    job: tuple[JobTrigger, ...] = ()
    app: tuple[AppTrigger, ...] = ()


class Notify(Spec, frozen=True, kw_only=True):
    """Whom to tell of what. One of `webhook`, `slack`, `email`."""

    on: tuple[Literal["started", "succeeded", "failed", "canceled", "timed out", "late", "approval"], ...] = (
        "failed",
        "timed out",
    )
    webhook: str | None = None
    slack: str | None = None
    """URLs, or `secret:<name>/<key>` that holds one."""
    signed_with: str | None = None
    """Of a webhook: `secret:<name>/<key>` that holds the key with which it is signed."""
    email: tuple[str, ...] = ()
    smtp: str | None = None
    """`smtp://user@host:587` or `smtps://…`, or `secret:<name>/<key>` that holds it; with the password where one is
    needed."""
    sender: str = "hivemind@localhost"


class Keep(Spec, frozen=True, kw_only=True):
    """How long ended runs, with logs, outputs and artifacts, can be looked at."""

    runs: Annotated[int, Meta(ge=1, le=100_000)] = 50
    age: Seconds = 30 * 86_400.0


class JobSpec(Spec, frozen=True, kw_only=True, rename={"finally_": "finally"}):
    description: str = ""
    inputs: dict[Ident, Input] = {}
    outputs: dict[Ident, OutputSpec] = {}
    triggers: Triggers = Triggers()
    priority: Priority = 50
    env: dict[EnvName, Template] = {}
    routines: dict[RoutineId, Routine] = {}
    """Its own; those with `@version` came from the library."""
    circuits: dict[str, Circuit] = {}
    tasks: dict[TaskId, Task]
    sequence: bool = False
    order: tuple[TaskId, ...] = ()
    finally_: dict[TaskId, Task] = {}
    on_failure: dict[TaskId, Task] = {}
    on_success: dict[TaskId, Task] = {}
    fail_fast: bool = False
    """The first failure cancels what runs; without, whatever does not need the failed task goes on."""
    timeout: Seconds = 0.0
    deadline: Seconds = 0.0
    """A run that has not ended so long after it was due is late, which `notify` tells."""
    concurrency: Concurrency | None = None
    """Of runs."""
    notify: tuple[Notify, ...] = ()
    keep: Keep = Keep()


class JobManifest(Spec, frozen=True, kw_only=True):
    name: Name
    labels: dict[str, str] = {}
    spec: JobSpec


class Job(Record, frozen=True, kw_only=True):
    id: str
    project: str
    name: str
    labels: dict[str, str] = {}
    number: int
    """Of its newest definition."""
    runs: int = 0
    """How many there ever were; numbers the next."""
    paused: bool = False
    """Nothing starts it but a person."""
    paused_schedules: tuple[str, ...] = ()
    seen: dict[str, int] = {}
    """Schedule -> the last of its times (ms) that was decided about."""
    version: int
    created: int
    updated: int


class Definition(Record, frozen=True, kw_only=True):
    """One version of what a job is. Immutable: a run keeps the one it began with."""

    job: str
    number: int
    spec: JobSpec
    by: str = ""
    created: int = 0


class JobDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Job"] = "Job"
    project: str
    name: str
    id: str
    labels: dict[str, str]
    version: int
    number: int
    spec: JobSpec
    paused: bool
    paused_schedules: tuple[str, ...]
    runs: int
    live: int
    """Runs that have not ended."""
    last: str
    """Name of its newest run."""
    last_state: str
    next: int
    """When (ms) a schedule starts it next; 0: none does."""
    created: int
    updated: int

    @property
    def state(self) -> str:
        return "paused" if self.paused else "active"

    @property
    def tasks(self) -> int:
        return len(self.spec.tasks)


JOB = Resource(
    kind="Job",
    plural="jobs",
    short="j",
    scope="project",
    document=JobDocument,
    manifest=JobManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("TASKS", "tasks"),
        Column("STATE", "state"),
        Column("LAST RUN", "last"),
        Column("RESULT", "last_state"),
        Column("LIVE", "live"),
        Column("RUNS", "runs", wide=True),
        Column("AGE", "created", format="age"),
    ),
)
