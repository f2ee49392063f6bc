"""Images, in both manners: `hivemind image …` and docker's verbs."""

from __future__ import annotations

from hivemind.cli.command import FLAG, Argument, Command, Group, Option
from hivemind.cli.declarations.containers import SECTION
from hivemind.cli.declarations.options import OUTPUT, PULL

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
    (
        PULL,
        Option(
            "--platform",
            "Another one than the node's, as linux/arm64; to save or push it.",
            metavar="OS/ARCH",
        ),
        Option("--quiet", "Only print its digest.", short="-q", kind=FLAG),
    ),
    ("image pull nginx:latest", "image pull --platform linux/arm64 nginx@sha256:…"),
    "Names are docker's; name@sha256:… pins what is fetched. Mirrors and sign-ins: hivemind registry.",
)
_PUSH = Command(
    ("image", "push"),
    "Send an image to its registry, or an archive to the node.",
    f"{_HANDLERS}:push",
    (
        Argument("IMAGE", "A name to push; or the archive's file, to the node itself.", flag="--image",
                 completes="image"),
        Argument("NAME", "For the only image of an archive, when it shall have another name.", required=False),
    ),
    (Option("--quiet", "No progress.", short="-q", kind=FLAG),),
    ("image push registry.example.com/team/web:1", "image push web.tar", "image push ./web.tar team/web:2"),
    "A name goes from the node to the registry that it begins with. A file (docker save, OCI layout in a tar) goes"
    " from here to the node, without the layers that it has already. docker push and skopeo copy reach the node as"
    " well, at /v2/ of its API, with a token as the password.",
)  # fmt: skip
_SAVE = Command(
    ("image", "save"),
    "Write images into an archive for docker load and others.",
    f"{_HANDLERS}:save",
    (Argument("IMAGE", "Names or digests.", many=True, flag="--image", completes="image"),),
    (
        Option(
            "--output",
            "Where to write it; standard output otherwise.",
            short="-o",
            metavar="FILE",
            completes="file",
        ),
    ),
    ("image save -o web.tar team/web:1", "image save nginx redis | ssh there docker load"),
)
_TAG = Command(
    ("image", "tag"),
    "Give an image one more name.",
    f"{_HANDLERS}:tag",
    (
        Argument("IMAGE", "Name or digest.", flag="--image", completes="image"),
        Argument("NAME", "The new name, as team/web:2.", flag="--name"),
    ),
    (),
    ("image tag nginx:latest registry.example.com/nginx:1",),
)
_PRUNE = Command(
    ("image", "prune"),
    "Remove images that nothing uses.",
    f"{_HANDLERS}:prune",
    (),
    (
        Option("--all", "Also those that have a name.", short="-a", kind=FLAG),
        Option("--force", "Do not ask.", short="-f", kind=FLAG),
    ),
    ("image prune", "image prune --all --force"),
    "Images stay that a container, an app or one of its kept revisions uses.",
)
_INSPECT = Command(
    ("image", "inspect"),
    "Show everything that images say of themselves, as JSON.",
    f"{_HANDLERS}:inspect",
    (Argument("IMAGE", "Names or digests.", many=True, flag="--image", completes="image"),),
    (Option("--output", "json or yaml.", short="-o", metavar="FORMAT", choices=("json", "yaml")),),
    ("image inspect nginx:latest",),
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
    _LS, _PULL, _PUSH, _LOAD, _SAVE, _TAG, _RM, _PRUNE, _INSPECT,
    _top(_LS, "images"), _top(_PULL, "pull"), _top(_PUSH, "push"), _top(_LOAD, "load"), _top(_SAVE, "save"),
    _top(_TAG, "tag"), _top(_RM, "rmi"),
)  # fmt: skip
