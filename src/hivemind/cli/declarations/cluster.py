"""The hive as a group of nodes: founding, joining, leaving, and a whole one on this machine."""

from __future__ import annotations

from hivemind.cli.command import FLAG, INTEGER, SECONDS, Argument, Command, Group, Option
from hivemind.cli.declarations.options import PLAIN_OUTPUT

_CLUSTER = "hivemind.cli.commands.cluster"
_TOKENS = "hivemind.cli.commands.cluster_tokens"
_REPAIR = "hivemind.cli.commands.cluster_repair"
_LOCAL = "hivemind.cli.commands.cluster_local"
_ADDRESS = Option(
    "--address",
    "Where the other nodes reach this one: an IP address, with a port if it is not 7946 (one of this machine's).",
    metavar="HOST:PORT",
)
_VOTERS = Option("--max-voters", "How many nodes decide at most, 1 to 13 (7).", kind=INTEGER, metavar="N")
_BFT = Option(
    "--require-bft",
    "Refuse whatever leaves fewer than four voters: fewer survive crashes, but no node that lies.",
    kind=FLAG,
)
_FILE = Option(
    "--file",
    "What the cluster looks like (cluster-config.yaml).",
    short="-f",
    metavar="FILE",
    completes="file",
)
_YES = Option("--yes", "Do not ask.", short="-y", kind=FLAG)

GROUP = Group("cluster", "The hive as a group of nodes: who is in, who decides.", "Nouns")

COMMANDS = (
    Command(
        ("cluster", "init"), "Make this node the first of a hive that others may join.", f"{_CLUSTER}:init", (),
        (Option("--name", "What the hive is called (hive).", metavar="NAME"), _ADDRESS, _VOTERS, _BFT,
         Option("--engine", "What agrees once there are two voters (pbft); etcd is for those who run one already.",
                metavar="ENGINE", choices=("pbft", "etcd"))),
        ("cluster init", "cluster init --name office --address 10.0.0.1"),
        "What the node has agreed with itself so far becomes what the hive has agreed. Nothing is restarted.",
    ),
    Command(
        ("cluster", "token", "create"), "Let nodes join: make a join token and print it, once.",
        f"{_TOKENS}:create", (),
        (Option("--role", "As what: a member decides and works, a worker only works, a witness only decides (member).",
                metavar="ROLE", choices=("member", "worker", "witness")),
         Option("--uses", "How many nodes may join with it (1).", kind=INTEGER, metavar="N"),
         Option("--expires", "How long it is good for (1h).", kind=SECONDS, metavar="TIME"),
         Option("--no-addresses", "Do not say in it where nodes of the hive are: who joins finds one by itself.",
                kind=FLAG),
         PLAIN_OUTPUT),
        ("cluster token create", "cluster token create --role worker --uses 20 --expires 1d",
         "cluster token create --uses 100 --expires 1d --no-addresses"),
        "Root on a machine that joins as a member administers the whole hive; on a worker or witness it does not.",
    ),
    Command(("cluster", "token", "ls"), "List the join tokens that are still good.", f"{_TOKENS}:ls", (),
            (PLAIN_OUTPUT,), ("cluster token ls",), alias="list"),
    Command(("cluster", "token", "rm"), "Make join tokens void; who has joined stays.", f"{_TOKENS}:rm",
            (Argument("ID", "The ids of tokens, or their beginnings.", many=True),), (), ("cluster token rm 3f9a",),
            alias="revoke"),
    Command(
        ("cluster", "join"), "Join a hive. What this node runs goes on.", f"{_CLUSTER}:join",
        (Argument("TOKEN", "The join token; without it, it is read from standard input.", required=False,
                  into="invitation"),),
        (_ADDRESS,
         Option("--witness", "Decide and run nothing; the token must be for a witness.", kind=FLAG),
         Option("--forget-own", "Give up this node's own apps and jobs, and all else it had agreed with itself.",
                kind=FLAG),
         Option("--seed", "Where any node of the hive is, beside what the token says.", metavar="HOST:PORT", many=True),
         _YES),
        ("cluster join hvjoin_…", "cluster join hvjoin_… --address 10.0.0.2",
         "cluster join --seed 10.0.0.3:7946 hvjoin_…", "cluster join --forget-own hvjoin_…"),
        "A join that was interrupted, by whatever, goes on by itself when the daemon is back; asking again with the"
        " same token shows how far it is.",
    ),
    Command(
        ("cluster", "leave"), "Leave the hive: what runs here moves away first.", f"{_CLUSTER}:leave", (),
        (Option("--force", "Go at once, even if the hive cannot agree: it sees this node as lost.", kind=FLAG), _YES),
        ("cluster leave", "cluster leave --force"),
        "Afterwards the node is alone, with nothing of the hive's: no apps, no secrets, no data of its volumes.",
    ),
    Command(
        ("cluster", "expel"), "Take a node out of the hive for ever.", f"{_CLUSTER}:expel",
        (Argument("NODE", "The node.", flag="--name", completes="node"),),
        (Option("--reason", "Why, for people.", metavar="TEXT"), _YES), ("cluster expel node-3 --reason stolen",),
        "At once: what it ran counts as lost and is placed elsewhere. Its key never joins again.",
    ),
    Command(
        ("cluster", "status"), "Show who is in the hive, who decides, and whether it can.", f"{_CLUSTER}:status", (),
        (PLAIN_OUTPUT,), ("cluster status", "cluster status -o json"),
    ),
    Command(
        ("cluster", "configure"), "Change how the hive decides.", f"{_CLUSTER}:configure", (),
        (_VOTERS, _BFT._replace(switch=True),
         Option("--rotation", "After how long the voter that served longest makes room for another member; 0: never.",
                kind=SECONDS, metavar="TIME"),
         Option("--rebalance", "Move replicas to nodes that join.", kind=FLAG, switch=True)),
        ("cluster configure --max-voters 5", "cluster configure --rebalance", "cluster configure --rebalance=false"),
    ),
    Command(
        ("cluster", "snapshot", "save"), "Keep all that was agreed in a file.", f"{_REPAIR}:save",
        (Argument("FILE", "Where to.", completes="file"),), (), ("cluster snapshot save hive.snapshot",),
        "Secrets in it stay sealed: without the hive's key, hive.key in the data directory, they cannot be opened.",
    ),
    Command(
        ("cluster", "snapshot", "restore"), "Begin a new lineage of a hive from such a file, on a node that is alone.",
        f"{_REPAIR}:restore", (Argument("FILE", "Where from.", completes="file"),), (_YES,),
        ("cluster snapshot restore hive.snapshot",),
    ),
    Command(
        ("cluster", "force-recover"), "Go on alone when the hive can decide nothing any more.",
        f"{_REPAIR}:recover", (), (_YES,), ("cluster force-recover",),
        "For a hive that has lost, for good, more voters than it can do without. This node begins a new lineage, in"
        " which it decides alone, with what it has; what the others decided without it is gone. They must never come"
        " back as they are: they join again.",
    ),
    Command(
        ("cluster", "up"), "Start a whole cluster on this machine, from one file.", f"{_LOCAL}:up", (),
        (_FILE, Option("--simulate-tasks", "Give it small jobs without end, and show where they run.", kind=FLAG),
         Option("--detach", "Return once it runs.", short="-d", kind=FLAG)),
        ("cluster up --file cluster-config.yaml", "cluster up --file cluster-config.yaml --simulate-tasks"),
        "Each node is a real daemon with data, sockets and ports of its own. Ctrl-C ends it and removes everything;"
        " so does `hivemind cluster down`, whatever became of this command.",
    ),
    Command(("cluster", "down"), "End a cluster of this machine and remove everything of it.", f"{_LOCAL}:down", (),
            (_FILE,), ("cluster down --file cluster-config.yaml",)),
)  # fmt: skip
