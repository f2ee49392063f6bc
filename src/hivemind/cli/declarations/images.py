"""Images, in both manners: `hivemind image …` and docker's verbs."""

from __future__ import annotations

from hivemind.cli.command import FLAG, Argument, Command, Group, Option
from hivemind.cli.declarations.containers import SECTION
from hivemind.cli.declarations.options import OUTPUT

GROUP = Group("image", "Images that this node holds.", "Nouns")
_HANDLERS = "hivemind.cli.commands.image"

_LS = Command(
    ("image", "ls"),
    "List the images that this node holds.",
    f"{_HANDLERS}:ls",
    (),
    (OUTPUT, Option("--quiet", "Only digests.", short="-q", kind=FLAG)),
    ("image ls",),
    alias="list",
)
_PULL = Command(
    ("image", "pull"),
    "Fetch an image from its registry.",
    f"{_HANDLERS}:pull",
    (Argument("IMAGE", "Like nginx:latest.", flag="--image", completes="image"),),
    (Option("--quiet", "Only print its digest.", short="-q", kind=FLAG),),
    ("image pull nginx:latest",),
)
_LOAD = Command(
    ("image", "load"),
    "Bring in an archive of `docker save` or of the OCI layout.",
    f"{_HANDLERS}:load",
    (Argument("FILE", "The archive.", required=False, completes="file"),),
    (
        Option(
            "--input", "The archive, `-` for standard input.", short="-i", metavar="FILE", completes="file"
        ),
        Option("--quiet", "No progress.", short="-q", kind=FLAG),
    ),
    ("image load -i nginx.tar", "image load < nginx.tar.gz"),
)
_RM = Command(
    ("image", "rm"),
    "Remove images.",
    f"{_HANDLERS}:rm",
    (Argument("IMAGE", "Names or digests.", many=True, flag="--image", completes="image"),),
    (),
    ("image rm nginx:latest",),
    alias="delete",
)


def _top(command: Command, verb: str) -> Command:
    examples = tuple(e.replace(" ".join(command.words), verb, 1) for e in command.examples)
    return command._replace(words=(verb,), section=SECTION, alias="", examples=examples)


COMMANDS = (
    _LS, _PULL, _LOAD, _RM,
    _top(_LS, "images"), _top(_PULL, "pull"), _top(_LOAD, "load"), _top(_RM, "rmi"),
)  # fmt: skip
