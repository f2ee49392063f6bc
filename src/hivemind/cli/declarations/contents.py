"""`hivemind config …` and `hivemind secret …`."""

from __future__ import annotations

from hivemind.cli.command import FLAG, Argument, Command, Group, Option
from hivemind.cli.declarations.options import ALL_PROJECTS, DRY_RUN, OUTPUT, PLAIN_OUTPUT

_HANDLERS = "hivemind.cli.commands.contents"

GROUPS = (
    Group("config", "Configs: settings of apps, as files or variables.", "Nouns"),
    Group("secret", "Secrets: the same, sealed; only containers read them.", "Nouns"),
)

_LABEL = Option("--label", "A label.", short="-l", metavar="K=V", many=True)
_FROM = (
    Option("--from-file", "A key from a file: KEY=PATH, PATH for a key of its name; - is standard input.",
           metavar="[KEY=]PATH", many=True, completes="file"),
    Option("--from-env-file", "Keys from a file of K=V lines.", metavar="PATH", many=True, completes="file"),
    Option("--from-literal", "A key with this value.", metavar="KEY=VALUE", many=True),
)  # fmt: skip
_WORDS = (
    Argument(
        "KEY=VALUE", "Keys with their values, as --from-literal.", required=False, many=True, into="words"
    ),
)


def _commands(noun: str) -> tuple[Command, ...]:
    name = Argument("NAME", f"The {noun}.", flag="--name", completes=noun)
    new = name._replace(completes="")
    file = "password=pw.txt" if noun == "secret" else "nginx.conf"
    sealed = (
        " Values are sealed before anything keeps them. Prefer files or standard input: --from-literal shows the"
        " value to everybody who may list processes."
        if noun == "secret"
        else ""
    )
    return (
        Command(
            (noun, "create"),
            f"Make a {noun}.",
            f"{_HANDLERS}:{noun}_create",
            (
                new,
                Argument(
                    "FILE",
                    f"What it holds, under the key of the {noun}'s own name; - is standard input.",
                    required=False,
                    completes="file",
                ),
            ),
            (*_FROM, _LABEL, PLAIN_OUTPUT),
            (
                f"{noun} create web --from-file {file}",
                f"{noun} create db --from-env-file .env",
                f"{noun} create token - < token.txt",
            ),
            f"Refused if there is one of that name.{sealed}",
        ),
        Command(
            (noun, "set"),
            f"Set keys of a {noun}; the others stay. Apps that use it are updated.",
            f"{_HANDLERS}:{noun}_set",
            (name, *_WORDS) if noun == "config" else (name,),
            (
                *_FROM,
                Option("--remove", "A key that shall go.", metavar="KEY", many=True),
                DRY_RUN,
                PLAIN_OUTPUT,
            ),
            (f"{noun} set web --from-file {file}", f"{noun} set web --remove old")
            + (("config set web colour=red size=3",) if noun == "config" else ()),
            "Every app that uses it gets a new revision and is updated replica by replica; if its replicas do not get"
            " healthy, it goes back to what it had. An app deployed with --on-change ignore keeps what it has until it"
            " is restarted.",
            stray="" if noun == "config" else "a value on the command line can be seen by others; give it by standard"
            " input: … | hivemind secret set NAME --from-file KEY=-",
        ),
        Command(
            (noun, "ls"), f"List {noun}s.", f"{_HANDLERS}:{noun}_ls", (), (OUTPUT, ALL_PROJECTS), (f"{noun} ls",),
            alias="list",
        ),
        Command(
            (noun, "inspect"),
            f"Show a {noun}: its keys, who uses it" + (", what it holds." if noun == "config" else "; never a value."),
            f"{_HANDLERS}:{noun}_inspect",
            (name._replace(many=True),),
            (PLAIN_OUTPUT,),
            (f"{noun} inspect web",),
        ),
        *(_GET if noun == "config" else ()),
        Command(
            (noun, "rm"), f"Remove {noun}s. Refused while an app uses one.", f"{_HANDLERS}:{noun}_rm",
            (name._replace(many=True),), (Option("--force", "No error for one that is not there.", kind=FLAG),),
            (f"{noun} rm web",), alias="delete",
        ),
    )  # fmt: skip


_GET = (
    Command(
        ("config", "get"),
        "Print what one key holds, byte for byte.",
        f"{_HANDLERS}:get",
        (
            Argument("NAME", "The config.", flag="--name", completes="config"),
            Argument("KEY", "The key; may be left out if there is only one.", required=False),
        ),
        (),
        ("config get web nginx.conf",),
    ),
)

COMMANDS = (*_commands("config"), *_commands("secret"))
