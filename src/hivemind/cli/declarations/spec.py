"""The options that describe what one replica of an app is. `cli.flags` turns them into a spec."""

from __future__ import annotations

from hivemind.cli.command import BYTES, CORES, FLAG, INTEGER, SECONDS, Option, under
from hivemind.cli.declarations.isolation import FILES, ISOLATION, PLACE_IN_NETWORK, SHARES
from hivemind.cli.declarations.options import PULL

PROCESS = (
    PULL,
    Option("--entrypoint", "Replaces the image's entry point.", metavar="'CMD ARG…'"),
    Option("--env", "Sets a variable; `K` alone takes it from here.", short="-e", metavar="K=V", many=True),
    Option(
        "--env-file", "Reads variables from a file of K=V lines.", metavar="FILE", many=True, completes="file"
    ),
    Option("--user", "Runs as this user.", short="-u", metavar="USER[:GROUP]"),
    Option("--workdir", "Runs in this directory.", short="-w", metavar="DIR"),
)
MOUNTS = (
    Option("--volume", "Mounts a volume, made if there is none, or a path of the node; :ro read-only, :per-replica one"
           " for each replica.", short="-v", metavar="NAME|/PATH:/PATH[:ro]", many=True, completes="volume"),
    Option("--mount", "The same in words: type=volume|bind|tmpfs, source, target, readonly, subpath, per-replica.",
           metavar="K=V,…", many=True),
)  # fmt: skip
NETWORK = (
    Option("--port", "Publishes a port of the container on the node; `80` alone only names it.", short="-p",
           metavar="[HOST:]PORT[/udp]", many=True, alias="--publish"),
    Option("--service", "The DNS name that finds its healthy replicas.", metavar="web.local"),
)  # fmt: skip
LIMITS = (
    Option("--cpus", "Cores set aside, and the most it may use.", kind=CORES, metavar="0.5"),
    Option(
        "--memory", "Memory set aside, and the most it may use.", short="-m", kind=BYTES, metavar="256MiB"
    ),
    Option("--pids", "The most processes it may have.", kind=INTEGER, metavar="N", alias="--pids-limit"),
)
RESTART = Option(
    "--restart", "When it ends: always, on-failure[:N] or no.", metavar="POLICY", completes="restart"
)
HEALTH = (
    Option("--health-cmd", "Healthy while this command, run inside, exits with 0.", metavar="'CMD ARG…'"),
    Option("--health-http", "Healthy while this path answers 200-399.", metavar="[https:][PORT]/PATH"),
    Option("--health-tcp", "Healthy while this port accepts connections.", metavar="PORT", kind=INTEGER),
    Option("--health-grpc", "Healthy while grpc.health.v1 says SERVING there.", metavar="PORT[/SERVICE]"),
    Option("--health-interval", "Time between two checks (5s).", kind=SECONDS, metavar="TIME"),
    Option("--health-timeout", "How long one check may take (2s).", kind=SECONDS, metavar="TIME"),
    Option("--health-retries", "Failures in a row that make it unhealthy (3).", kind=INTEGER, metavar="N"),
    Option("--health-start-period", "Failures do not count this long after the start.", kind=SECONDS,
           metavar="TIME"),
    Option("--no-healthcheck", "Takes the health check away; the image's own counts no more either.", kind=FLAG),
    Option("--startup", "Nothing else is checked until this has passed once; restarted when it fails.",
           metavar="CHECK"),
    Option("--liveness", "Restarted when this fails: tcp:5432,interval=10s,retries=5, or none.", metavar="CHECK"),
    Option("--readiness", "Nothing is sent there while this fails: http:8080/ready,timeout=1s, or none.",
           metavar="CHECK"),
    Option("--post-start", "Done right after the start; ready only then. A command, or http:PORT/PATH.",
           metavar="HOOK"),
    Option("--pre-stop", "Done before the stop signal, within the grace period.", metavar="HOOK"),
)  # fmt: skip
COMPANIONS = (
    Option("--init-container", "Runs to its end before the app starts; `NAME=` takes it away.",
           metavar="'NAME=IMAGE CMD…'", many=True),
    Option("--sidecar", "Runs beside the app, in its network.", metavar="'NAME=IMAGE CMD…'", many=True),
    Option("--depends-on", "Waits until this app is started, healthy or completed.", metavar="APP[:CONDITION]",
           many=True),
)  # fmt: skip
STOP = (
    Option("--stop-signal", "The signal that asks it to end (the image's own, else SIGTERM).", metavar="SIGNAL"),
    Option("--stop-grace-period", "How long it may take to end before it is killed (10s).", kind=SECONDS,
           metavar="TIME", alias="--stop-timeout"),
)  # fmt: skip
RUNTIME = Option("--runtime", "What runs it: one that a node offers.", metavar="NAME",
                 choices=("auto", "oci", "containerd", "docker", "process"))  # fmt: skip
LABEL = Option("--label", "A label for people and programs.", short="-l", metavar="K=V", many=True)
PLACEMENT = (
    Option(
        "--constraint",
        "Only on nodes where this holds, like node.labels.disk==ssd.",
        metavar="EXPR",
        many=True,
    ),
    Option(
        "--placement", "Spread over the nodes or pack tightly.", metavar="HOW", choices=("spread", "binpack")
    ),
    Option("--priority", "0 to 100 (50); the higher goes first.", kind=INTEGER, metavar="N"),
    Option(
        "--on-partition",
        "On a node that is cut off from the hive: keep running, or stop, so that never two of one replica run.",
        metavar="HOW",
        choices=("keep", "stop"),
    ),
)
UPDATE = (
    Option("--update-order", "Start the new replica before or after the old one stops (auto: after it, if it"
           " writes to a volume).", metavar="ORDER", choices=("auto", "start-first", "stop-first")),
    Option("--update-parallel", "Replicas replaced at the same time (1).", kind=INTEGER, metavar="N"),
    Option("--update-surge", "How many may run beyond --replicas meanwhile (as many as are replaced at the same"
           " time); 0 is stop-first.", kind=INTEGER, metavar="N"),
    Option("--update-min-healthy", "How long a new replica must be healthy to count (1s).", kind=SECONDS,
           metavar="TIME"),
    Option("--update-deadline", "A replica not healthy after this long fails the deployment (5m).",
           kind=SECONDS, metavar="TIME"),
    Option("--progress-deadline", "An update in which no further replica gets healthy for this long fails (10m;"
           " 0: never).", kind=SECONDS, metavar="TIME"),
    Option("--no-rollback", "Leave a failed update as it is.", kind=FLAG),
    Option("--rollback", "Take a failed update back to the last good revision (so unless told otherwise).",
           kind=FLAG),
)  # fmt: skip
CONTENTS = (
    Option("--config", "A config as files: NAME, NAME:/path, or NAME/KEY:/path/of/file.", metavar="NAME[:PATH]",
           many=True, completes="config"),
    Option("--secret", "A secret as files in memory; the same ways to write it.", metavar="NAME[:PATH]", many=True,
           completes="secret"),
    Option("--env-config", "A variable from a config: VAR=NAME/KEY, or NAME for all of its keys.",
           metavar="VAR=NAME/KEY", many=True),
    Option("--env-secret", "A variable from a secret; the same ways to write it.", metavar="VAR=NAME/KEY", many=True),
    Option("--on-change", "When a config or secret that it uses changes: roll to it, or ignore that.",
           metavar="HOW", choices=("roll", "ignore")),
)  # fmt: skip
TERMINAL = under(
    "Process",
    Option(
        "--interactive",
        "Keeps its input open, for `attach`; with run, passes this one on.",
        short="-i",
        kind=FLAG,
    ),
    Option("--tty", "Gives it a terminal.", short="-t", kind=FLAG),
)

REPLICA = (
    *under("Process", *PROCESS, RESTART, *STOP, RUNTIME, LABEL),
    *under("Resources", *LIMITS, *SHARES),
    *under("Network", *NETWORK, *PLACE_IN_NETWORK),
    *under("Volumes and files", *MOUNTS, *FILES),
    *under("Configs and secrets", *CONTENTS),
    *under("Checks and hooks", *HEALTH),
    *under("Companions and order", *COMPANIONS),
    *under("Isolation", *ISOLATION),
    *under("Placement", *PLACEMENT),
    *under("Updates", *UPDATE),
)
