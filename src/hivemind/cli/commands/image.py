"""`hivemind image …`, and docker's verbs: `images`, `pull`, `push`, `load`, `save`, `tag`, `rmi`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, cast

import msgspec
from msgspec import structs

from hivemind.cli.confirm import confirm
from hivemind.cli.context import Context
from hivemind.cli.live import Line, Live
from hivemind.cli.output import short, show_data, show_list
from hivemind.errors import Invalid
from hivemind.model.answers import PullProgress
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
    lines = context.hive.images.pull(
        reference, policy=context.args.pull or "missing", platform=context.args.platform or ""
    )
    _told(context, context.args.image, "pulled", lines)


def push(context: Context) -> None:
    given = Path(context.args.image)
    if given.is_file():
        _push_archive(context, str(given))
        return
    if context.args.name:
        raise Invalid(
            f"{context.args.image} is no file, and only an archive can be given another name on the way",
            hint=f"hivemind image tag {context.args.image} {context.args.name}, then push that",
        )
    reference = str(parse_reference(context.args.image))
    _told(context, context.args.image, "pushed", context.hive.images.push(reference))


def _told(context: Context, name: str, done: str, lines: Iterator[PullProgress]) -> None:
    """A view of what all layers together have come to, then one line."""
    image: ImageDocument | None = None
    with Live(context.terminal) as live:
        for progress in lines:
            image = progress.image or image
            if live.animated and not context.args.quiet:
                of = f" of {show_bytes(progress.total)}" if progress.total else ""
                live.update(f"{name}  {progress.stage} {show_bytes(progress.done)}{of}", [])
            elif not context.args.quiet:
                live.update("", [Line(name, progress.stage)])
        live.clear()
    assert image is not None, "the last line has the image, or the error"
    said = f"{name} {done}, {show_bytes(image.size)}, {short(image.id)}"
    context.print(image.id if context.args.quiet else said)


def _push_archive(context: Context, path: str) -> None:
    with Live(context.terminal) as live:

        def told(done: int, total: int) -> None:
            if live.animated and not context.args.quiet:
                live.update(f"{path}  sent {show_bytes(done)} of {show_bytes(total)}", [])

        pushed = context.hive.images.push_archive(path, context.args.name or "", told)
        live.clear()
    for image in pushed:
        sent = f"{show_bytes(image.sent)} sent of {show_bytes(image.size)}"
        said = f"{image.name} pushed, {sent}, {short(image.digest)}"
        context.print(image.name if context.args.quiet else said)


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


def tag(context: Context) -> None:
    image = context.hive.images.tag(context.args.image, context.args.name)
    context.print(f"{short(image.id)} is {parse_reference(context.args.name).familiar}")


def prune(context: Context) -> None:
    what = "all images that nothing uses" if context.args.all else "images without a name that nothing uses"
    confirm(context, f"This removes {what}.")
    pruned = context.hive.images.prune(everything=context.args.all)
    for name in pruned.images:
        context.print(f"{name} removed")
    context.print(f"Total reclaimed space: {show_bytes(pruned.freed)}")


def inspect(context: Context) -> None:
    found = [context.hive.images.details(name) for name in context.args.image]
    show_data(context, [msgspec.to_builtins(each) for each in found])


def save(context: Context) -> None:
    """Into a file only once all of it is there: half an archive is none."""
    path = context.args.output
    if not path and sys.stdout.isatty():
        raise Invalid("an archive is nothing for a terminal", hint="give -o FILE, or redirect: … > FILE")
    pieces = context.hive.images.save(context.args.image)
    if not path:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    with _whole(Path(path)) as file, Live(context.terminal) as live:
        size = 0
        for piece in pieces:
            file.write(piece)
            size += len(piece)
            if live.animated:
                live.update(f"writing {path}  {show_bytes(size)}", [])
        live.clear()


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("xb") as file:
            yield file
        aside.replace(path)
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}") from None
    finally:
        aside.unlink(missing_ok=True)
