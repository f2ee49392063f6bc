"""Tokens: how other people, and programs, get in."""

from __future__ import annotations

from hivemind.cli.command import Argument, Command, Group, Option
from hivemind.cli.declarations.options import OUTPUT, PLAIN_OUTPUT

_TOKENS = "hivemind.cli.commands.token"
_NAME = Argument("NAME", "Whose it is.", flag="--name")
_ROLE = Option(
    "--role",
    "What it may do: look (viewer, if nothing is said), change apps (operator), everything (admin).",
    metavar="ROLE",
    choices=("viewer", "operator", "admin"),
)

GROUP = Group("token", "Tokens: who may do what.", "Nouns")

COMMANDS = (
    Command(
        ("token", "ls"),
        "List who is let in, and in which role.",
        f"{_TOKENS}:ls",
        (),
        (OUTPUT,),
        ("token ls",),
        alias="list",
    ),
    Command(
        ("token", "create"),
        "Let somebody in: make a token and print it, once.",
        f"{_TOKENS}:create",
        (_NAME,),
        (_ROLE, PLAIN_OUTPUT),
        ("token create --name ann --role operator", "token create ci -o json"),
        "The token is a private key, made here; the hive learns its public half only and cannot show the token"
        " again. Whatever is done with it carries the name.",
    ),
    Command(
        ("token", "rm"),
        "Take tokens back; they are refused at once.",
        f"{_TOKENS}:rm",
        (_NAME._replace(many=True, completes="person"),),
        (),
        ("token rm ann",),
        alias="delete",
    ),
)
