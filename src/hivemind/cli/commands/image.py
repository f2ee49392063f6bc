"""`hivemind image …`, `images`, `pull`, `load`, `rmi`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import IO, cast

from msgspec import structs

from hivemind.cli.context import Context
from hivemind.cli.live import Line, Live
from hivemind.cli.output import short, show_list
from hivemind.errors import Invalid
from hivemind.model.image import IMAGE, ImageDocument, parse_reference
from hivemind.model.quantity import show_bytes


def ls(context: Context) -> None:
    images = context.hive.images.list()
    if context.args.quiet:
        for image in images:
            context.print(image.id)
        return
    if context.args.get("output", "table") in ("table", "wide"):
        # People look for the name they gave, of which an image may have several.
        images = [structs.replace(i, name=name) for i in images for name in i.names or (i.name,)]
    show_list(context, IMAGE, images)


def pull(context: Context) -> None:
    reference = str(parse_reference(context.args.image))
    image: ImageDocument | None = None
    with Live(context.terminal) as live:
        for progress in context.hive.images.pull(reference):
            image = progress.image or image
            if live.animated and not context.args.quiet:
                of = f" of {show_bytes(progress.total)}" if progress.total else ""
                live.update(f"{context.args.image}  {progress.stage} {show_bytes(progress.done)}{of}", [])
            elif not context.args.quiet:
                live.update("", [Line(context.args.image, progress.stage)])
        live.clear()
    assert image is not None, "a pull ends with its image or an error"
    told = f"{context.args.image} pulled, {show_bytes(image.size)}, {short(image.id)}"
    context.print(image.id if context.args.quiet else told)


def load(context: Context) -> None:
    if context.args.file and context.args.input:
        raise Invalid("the archive is given twice", hint="give it once: hivemind image load -i FILE")
    path = context.args.input or context.args.file or "-"
    if path == "-" and sys.stdin.isatty():
        raise Invalid("no archive is given", hint="hivemind image load -i FILE, or feed it: … < FILE")
    with _open(path) as archive, Live(context.terminal) as live:
        total = Path(path).stat().st_size if path != "-" else 0

        def told(sent: int) -> None:
            if live.animated and not context.args.quiet:
                of = f" of {show_bytes(total)}" if total else ""
                live.update(f"sending {path}  {show_bytes(sent)}{of}", [])

        images = context.hive.images.load(archive, told)
        live.clear()
    for image in images:
        context.print(f"{image.name} loaded, {show_bytes(image.size)}, {short(image.id)}")


def _open(path: str) -> IO[bytes] | nullcontext[IO[bytes]]:
    if path == "-":
        return nullcontext(cast(IO[bytes], sys.stdin.buffer))
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise Invalid(f"the archive {path} cannot be read: {error.strerror}") from None


def rm(context: Context) -> None:
    for name in context.args.image:
        context.hive.images.delete(name)
        context.print(f"{name} removed")
