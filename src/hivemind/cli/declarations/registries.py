"""Registries: where images come from, and signing in there."""

from __future__ import annotations

from hivemind.cli.command import FLAG, Argument, Command, Group, Option
from hivemind.cli.declarations.containers import SECTION
from hivemind.cli.declarations.options import OUTPUT

GROUP = Group("registry", "Registries that images come from.", "Nouns")
_HANDLERS = "hivemind.cli.commands.registry"
_HOST = Argument("REGISTRY", "As in images' names: registry.example.com:5000; docker.io when not given.",
                 required=False, flag="--registry")  # fmt: skip

_LOGIN = Command(
    ("registry", "login"),
    "Sign the hive in to a registry.",
    f"{_HANDLERS}:login",
    (_HOST,),
    (
        Option("--username", "Who signs in.", short="-u", metavar="NAME"),
        Option("--password", "The password; others may see it in the process list.", short="-p", metavar="TEXT"),
        Option("--password-stdin", "Read the password from standard input.", kind=FLAG),
        Option("--ca-cert", "PEM file of authorities that vouch for the registry.", metavar="FILE", completes="file"),
        Option("--insecure", "Look at no certificate; plain HTTP will do.", kind=FLAG),
        Option("--mirror", "Ask this host first; several times for several, none for none.", metavar="URL", many=True),
        Option("--from-docker", "Take over docker's sign-ins of this machine: all, or that to REGISTRY.", kind=FLAG),
    ),
    (
        "registry login registry.example.com:5000 -u ann --password-stdin < password",
        "registry login registry.local --ca-cert ca.pem -u ann",
        "registry login docker.io --mirror https://mirror.local",
        "registry login --from-docker",
    ),
    "The node tries it out before it is kept, sealed, for the whole hive: every node signs in at every pull, also"
    " next month. What is not named stays as it was. Without --username nobody signs in, and only how the registry"
    " is reached is kept.",
)  # fmt: skip
_LOGOUT = Command(
    ("registry", "logout"),
    "Forget a registry and its password.",
    f"{_HANDLERS}:logout",
    (_HOST._replace(many=True),),
    (),
    ("registry logout registry.example.com:5000",),
    alias="rm",
)
_LS = Command(
    ("registry", "ls"),
    "List the registries that the hive knows.",
    f"{_HANDLERS}:ls",
    (),
    (OUTPUT,),
    ("registry ls",),
    alias="list",
)

COMMANDS = (
    _LOGIN, _LOGOUT, _LS,
    _LOGIN._replace(words=("login",), section=SECTION,
                    examples=tuple(e.removeprefix("registry ") for e in _LOGIN.examples)),
    _LOGOUT._replace(words=("logout",), section=SECTION, alias="", examples=("logout registry.example.com:5000",)),
)  # fmt: skip
