"""The options that say how a replica is kept apart, what it may do nevertheless, and how it is on the network.

Docker's names and spellings."""

from __future__ import annotations

from hivemind.cli.command import BYTES, FLAG, Option

ISOLATION = (
    Option("--privileged", "Everything that the node's root may do. Needs a permission.", kind=FLAG, switch=True),
    Option("--cap-add", "Adds a capability, or ALL. Beyond docker's own, needs a permission.", metavar="CAP",
           many=True),
    Option("--cap-drop", "Takes a capability away, or ALL, before others are added.", metavar="CAP", many=True),
    Option("--security-opt", "seccomp=unconfined|default|FILE, apparmor=PROFILE, no-new-privileges[=BOOL] (true).",
           metavar="K=V", many=True),
    Option("--userns", "host: root inside is the node's root. Needs a permission. auto: it is nobody there, where"
           " the machine can.", metavar="MODE", choices=("auto", "host")),
    Option("--read-only", "Nothing can be written but to mounts.", kind=FLAG, switch=True),
    Option("--init", "Runs a small init as process 1, which reaps orphans.", kind=FLAG, switch=True),
    Option("--device", "A device of the node. Needs a permission.", metavar="PATH[:INSIDE[:rwm]]", many=True),
    Option("--sysctl", "A kernel parameter of its own network or IPC, like net.core.somaxconn=1024.", metavar="K=V",
           many=True),
)  # fmt: skip
FILES = (
    Option("--tmpfs", "Memory as a directory; size=64m and mode=0755 may follow.", metavar="DIR[:OPTIONS]", many=True),
)  # fmt: skip
SHARES = (
    Option("--gpus", "GPUs of its own.", metavar="N"),
    Option("--shm-size", "Size of /dev/shm (64MiB).", kind=BYTES, metavar="SIZE"),
    Option("--ulimit", "A limit of its processes, like nofile=1024:4096; -1 is none.", metavar="NAME=SOFT[:HARD]",
           many=True),
)  # fmt: skip
PLACE_IN_NETWORK = (
    Option("--network", "default: an address of its own. host: the node's network; needs a permission. none: no"
           " network.", metavar="MODE", alias="--net", choices=("default", "host", "none")),
    Option("--hostname", "Its host name (the app's, with the replica's number).", metavar="NAME"),
    Option("--dns", "A name server instead of the hive's, which then resolves no apps for it.", metavar="ADDRESS",
           many=True),
    Option("--dns-search", "Where names without dots are looked for.", metavar="DOMAIN", many=True),
    Option("--dns-option", "An option for resolv.conf.", metavar="OPTION", many=True, alias="--dns-opt"),
    Option("--add-host", "A line for /etc/hosts; the address host-gateway is the node's.", metavar="NAME:ADDRESS",
           many=True),
)  # fmt: skip
PERMISSIONS = (
    "privileged",
    "capabilities",
    "unconfined",
    "host-users",
    "devices",
    "host-network",
    "bind",
    "processes",
)
"""As in `model.permission`, which help need not import."""
