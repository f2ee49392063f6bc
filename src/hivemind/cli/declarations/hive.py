"""Nodes, projects, the hive itself, and the command line's own matters."""

from __future__ import annotations

from hivemind.cli.command import FLAG, Argument, Command, Group, Option
from hivemind.cli.declarations.daemon import DAEMON
from hivemind.cli.declarations.isolation import PERMISSIONS
from hivemind.cli.declarations.options import DRAINING, OUTPUT, PLAIN_OUTPUT, WAITING

SECTION = DAEMON.section
_NODES = "hivemind.cli.commands.node"
_PROJECTS = "hivemind.cli.commands.project"
_HIVE = "hivemind.cli.commands.hive"
_NODE = Argument("NODE", "The node.", flag="--name", completes="node")
_PROJECT = Argument("NAME", "The project.", flag="--name", completes="project")

GROUPS = (
    Group("node", "Nodes: the machines of the hive.", "Nouns"),
    Group("project", "Projects: what keeps names apart.", "Nouns"),
)

COMMANDS = (
    Command(("node", "ls"), "List nodes.", f"{_NODES}:ls", (), (OUTPUT,), ("node ls",), alias="list"),
    Command(("node", "cordon"), "Place nothing new on a node.", f"{_NODES}:cordon", (_NODE,), (),
            ("node cordon node-1",)),
    Command(("node", "uncordon"), "Let a node take new replicas again.", f"{_NODES}:uncordon", (_NODE,), (),
            ("node uncordon node-1",)),
    Command(("node", "drain"), "Move everything away from a node and place nothing new there.",
            f"{_NODES}:drain", (_NODE,),
            (*DRAINING, *WAITING),
            ("node drain node-1", "node drain node-1 --deadline 10m")),
    Command(("node", "describe"), "Show everything about a node.", f"{_NODES}:describe", (_NODE,), (OUTPUT,),
            ("node describe node-1",), alias="info"),
    Command(("node", "rm"), "Let a node leave the hive.", f"{_NODES}:rm", (_NODE,),
            (Option("--force", "At once: what it runs counts as lost, and what only it keeps is gone.", kind=FLAG),
             *WAITING),
            ("node rm node-1", "node rm node-1 --force"),
            "Everything moves away first, and others decide in its place. One that is gone for good is removed with"
            " --force. To keep a node out for ever: hivemind cluster expel.", alias="remove"),
    Command(("node", "label"), "Set labels of a node; K- takes one away.", f"{_NODES}:label",
            (_NODE, Argument("LABEL", "K=V or K-.", many=True)), (), ("node label node-1 disk=ssd zone-",)),
    Command(("project", "ls"), "List projects.", f"{_PROJECTS}:ls", (), (OUTPUT,), ("project ls",), alias="list"),
    Command(("project", "create"), "Make a project.", f"{_PROJECTS}:create", (_PROJECT,),
            (Option("--label", "A label.", short="-l", metavar="K=V", many=True),),
            ("project create --name shop",)),
    Command(("project", "rm"), "Remove an empty project.", f"{_PROJECTS}:rm", (_PROJECT,), (),
            ("project rm shop",), alias="delete"),
    *(
        Command(("project", verb), summary, f"{_PROJECTS}:{verb}",
                (_PROJECT._replace(flag=""), Argument("PERMISSION", "What its apps may ask for.", many=True,
                 choices=PERMISSIONS)), (), (example,), about)
        for verb, summary, example, about in (
            ("allow", "Let the apps of a project ask for what is dangerous.",
             "project allow shop devices host-network",
             "Only an administrator may. privileged: --privileged. capabilities: --cap-add beyond docker's own."
             " unconfined: another seccomp or AppArmor profile. host-users: --userns host. devices: --device."
             " host-network: --network host. bind: paths of the node as volumes."
             " processes: --runtime process, commands on the node itself."),
            ("deny", "Take permissions away from a project.", "project deny shop devices",
             "What runs keeps running; the next deploy that needs them is refused."),
        )
    ),
    DAEMON,
    Command(("status",), "Show this node and what runs in the hive.", f"{_HIVE}:status", (), (PLAIN_OUTPUT,),
            ("status",), section=SECTION),
    Command(("doctor",), "Check this machine and say what mends it.", "hivemind.cli.commands.doctor:doctor", (),
            (PLAIN_OUTPUT,), ("doctor",), "Exits with 1 when something fails that Hivemind cannot do without.",
            SECTION),
    Command(("version",), "Show the versions of the command line and the daemon.", f"{_HIVE}:version", (),
            (PLAIN_OUTPUT,), ("version",), section=SECTION),
    Command(("completion",), "Print the shell's completion script.", "hivemind.cli.commands.completion:completion",
            (Argument("SHELL", "bash, zsh or fish.", choices=("bash", "zsh", "fish")),), (),
            ("completion bash > /etc/bash_completion.d/hivemind",
             "completion zsh > \"${fpath[1]}/_hivemind\"",
             "completion fish > ~/.config/fish/completions/hivemind.fish"),
            section=SECTION),
    Command(("help",), "Show the help of a command.", f"{_HIVE}:help",
            (Argument("COMMAND", "Its words.", required=False, rest=True, completes="command"),), (),
            ("help app deploy",), section=SECTION),
    Command(("__complete",), "What may stand at the last word.", "hivemind.cli.commands.completion:complete",
            (Argument("WORDS", "The command line so far.", required=False, rest=True),), (), hidden=True),
)  # fmt: skip
