"""`hivemind volume …`, but for backups."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, cast

from msgspec.structs import replace

from hivemind.cli.changes import Changes
from hivemind.cli.context import Context
from hivemind.cli.convergence import PATIENCE, Failed
from hivemind.cli.flags.text import pairs
from hivemind.cli.live import Line, Live
from hivemind.cli.output import show_data, show_list
from hivemind.errors import Conflict, Invalid, NotFound, TimedOut
from hivemind.model.quantity import read, show_bytes
from hivemind.model.snapshot import SNAPSHOT, SnapshotManifest
from hivemind.model.volume import (
    VOLUME,
    FromBackup,
    FromSnapshot,
    FromVolume,
    Source,
    VolumeDocument,
    VolumeManifest,
)

_CHUNK = 1 << 18


def create(context: Context) -> None:
    args = context.args
    if args.from_snapshot and args.from_backup:
        raise Invalid("it can hold what one of them does", hint="leave out --from-snapshot or --from-backup")
    source: Source | None = FromSnapshot(name=args.from_snapshot) if args.from_snapshot else None
    if args.from_backup:
        source = FromBackup(
            target=_target(context, None), id=_backup_id(context, args.name, args.from_backup)
        )
    made = _make(context, args.name, source)
    if args.get("output") in ("json", "yaml"):
        show_data(context, _plain(made))
    else:
        context.print(
            f"volume {made.name} made" + (f", at most {show_bytes(made.size)}" if made.size else "")
        )


def _make(context: Context, name: str, source: Source | None = None, **fields: Any) -> VolumeDocument:
    args = context.args
    wished = {
        "name": name,
        "labels": pairs(args.get("label", []), "--label"),
        "storage_class": args.get("class", "local"),
        "size": args.get("size") or 0,
        "node": args.get("node"),
        **fields,
    }
    manifest = replace(read(wished, VolumeManifest), source=source)
    changes = Changes(context.hive, context.project)
    made = context.hive.volumes.create(manifest, context.project)
    if args.get("detach") or not made.node:
        return made
    return _wait(
        context, changes, name, lambda v: v.status.phase == "ready" and v.status.content == v.content
    )


def _wait(
    context: Context, changes: Changes, name: str, done: Callable[[VolumeDocument], bool]
) -> VolumeDocument:
    """Until its node has made it so. Raises `Failed` with what the node says, `TimedOut`."""
    deadline = time.monotonic() + (context.args.get("timeout") or PATIENCE)
    with Live(context.terminal) as live:
        for _ in changes.looks(deadline, tick=0.2):
            volume = context.hive.volumes.get(name, context.project)
            if done(volume):
                live.clear()
                return volume
            if volume.status.phase == "failed":
                live.clear()
                raise Failed(
                    f"volume {name}: {volume.status.message}",
                    hint=f"its node tries it again; hivemind volume inspect {name} shows how that goes",
                )
            if live.animated:
                live.update(f"volume {name}", [Line(name, volume.status.phase)])
    raise TimedOut(
        f"volume {name} is not ready yet", hint=f"hivemind volume inspect {name} shows how far it is"
    )


def ls(context: Context) -> None:
    volumes = context.hive.volumes.list(context.scope)
    if context.args.quiet:
        for volume in volumes:
            context.print(volume.name)
    else:
        show_list(context, VOLUME, volumes)


def inspect(context: Context) -> None:
    found = [context.hive.volumes.get(name, context.project) for name in context.args.name]
    show_data(context, [_plain(volume) for volume in found])


def rm(context: Context) -> None:
    for name in context.args.name:
        try:
            context.hive.volumes.delete(name, context.project)
        except NotFound:
            if not context.args.force:
                raise
            continue
        context.print(f"volume {name} removed")


def prune(context: Context) -> None:
    unused = [v for v in context.hive.volumes.list(context.scope) if not v.used_by]
    if not unused:
        context.note("No volumes are unused.")
        return
    names = ", ".join(v.name for v in unused)
    _ask(
        context, f"Remove {len(unused)} unused volume{'s' * (len(unused) > 1)} and what they hold ({names})?"
    )
    freed = 0
    for volume in unused:
        try:
            context.hive.volumes.delete(volume.name, volume.project, if_version=volume.version)
        except Conflict as error:
            context.note(f"volume {volume.name} kept: {error.message}")
            continue
        freed += volume.status.used
        context.print(f"volume {volume.name} removed")
    context.note(f"{show_bytes(freed)} freed")


def _ask(context: Context, question: str) -> None:
    """Raises `Invalid` unless the person says yes, or --force was given."""
    if context.args.force:
        return
    if not sys.stdin.isatty():
        raise Invalid(f"{question} Nobody is here to say yes", hint="say it with --force")
    context.terminal.err.write(f"{question} [y/N] ")
    context.terminal.err.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Invalid("nothing was changed", hint="answer y, or give --force")


# -- snapshots -----------------------------------------------------------------------------------------------


def snapshot(context: Context) -> None:
    args, hive = context.args, context.hive
    name = args.snapshot or f"{args.name[:47]}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    changes = Changes(hive, context.project)
    made = hive.snapshots.create(read({"name": name, "volume": args.name}, SnapshotManifest), context.project)
    deadline = time.monotonic() + (args.get("timeout") or PATIENCE)
    for _ in changes.looks(deadline, tick=0.2) if not args.detach else ():
        made = hive.snapshots.get(name, context.project)
        if made.status.phase == "failed":
            raise Failed(
                f"snapshot {name}: {made.status.message}",
                hint=f"it is tried again; hivemind volume rm-snapshot {name} gives up",
            )
        if made.status.phase == "ready":
            break
    else:
        if not args.detach:
            raise TimedOut(
                f"snapshot {name} is not ready yet", hint="hivemind volume snapshots shows when it is"
            )
    if args.get("output") in ("json", "yaml"):
        show_data(context, _plain(made))
    else:
        context.print(
            f"snapshot {name} taken" if made.status.phase == "ready" else f"snapshot {name} is being taken"
        )
    if made.status.consistency == "live":
        context.note(FUZZY.format("snapshot"))


FUZZY = (
    "The volume was in use and has no size limit, so its files were copied one after another: this {} is not of one"
    " moment. For a consistent one stop the app first, or use a volume with a --size."
)


def snapshots(context: Context) -> None:
    found = context.hive.snapshots.list(context.scope)
    wanted = context.args.name
    show_list(context, SNAPSHOT, [s for s in found if not wanted or s.volume == wanted])


def rm_snapshot(context: Context) -> None:
    for name in context.args.snapshot:
        context.hive.snapshots.delete(name, context.project)
        context.print(f"snapshot {name} removed")


# -- restore, clone, resize ----------------------------------------------------------------------------------


def restore(context: Context) -> None:
    args = context.args
    if bool(args.snapshot) == bool(args.backup):
        raise Invalid("name what to restore from", hint="--snapshot SNAPSHOT or --backup ID")
    size = 0
    source: Source
    if args.snapshot:
        source = FromSnapshot(name=args.snapshot)
    else:
        target = _target(context, args.name)
        found = _backup(context, target, args.name, args.backup)
        source, size = FromBackup(target=target, id=found.id), found.size
    if args.to:
        made = _make(context, args.to, source, size=size)
        context.print(f"volume {made.name} made of {args.snapshot or source.id[:8]}")  # type: ignore[union-attr]
        return
    _ask(context, f"Replace what volume {args.name} holds now?")
    changes = Changes(context.hive, context.project)
    volume = context.hive.volumes.restore(args.name, source, context.project)
    if args.detach:
        context.print(f"volume {args.name} is being restored")
        return
    _wait(
        context, changes, args.name,
        lambda v: v.status.phase == "ready" and v.status.content >= volume.content,
    )  # fmt: skip
    context.print(f"volume {args.name} restored")


def clone(context: Context) -> None:
    made = _make(context, context.args.new, FromVolume(name=context.args.name))
    context.print(f"volume {made.name} made of {context.args.name}")


def resize(context: Context) -> None:
    args = context.args
    if not args.size:
        raise Invalid("no size is given", hint="hivemind volume resize NAME --size 20GiB")
    volume = context.hive.volumes.get(args.name, context.project)
    changes = Changes(context.hive, context.project)
    change(context, volume, size=args.size)
    if not args.detach:

        def fits(seen: VolumeDocument) -> bool:
            if seen.status.message and seen.status.size != args.size:
                raise Failed(
                    f"volume {args.name} cannot hold that limit yet: {seen.status.message}",
                    hint=f"or take it back: hivemind volume resize {args.name} --size {show_bytes(seen.status.size)}",
                )
            return bool(seen.status.size == args.size)

        _wait(context, changes, args.name, fits)
    context.print(f"volume {args.name} may hold {show_bytes(args.size)}")


def change(context: Context, volume: VolumeDocument, **fields: Any) -> VolumeDocument:
    """Writes the volume with other fields, refused if somebody else changed it meanwhile."""
    manifest = VolumeManifest(
        name=volume.name, labels=volume.labels, storage_class=volume.storage_class, size=volume.size,
        backup=volume.backup,
    )  # fmt: skip
    wished = replace(manifest, **fields)
    return context.hive.volumes.put(wished, context.project, if_version=volume.version)


# -- export, import ------------------------------------------------------------------------------------------


def export(context: Context) -> None:
    path = context.args.output or "-"
    if path == "-" and sys.stdout.isatty():
        raise Invalid("a tar is not for a terminal", hint="hivemind volume export NAME -o FILE, or … > FILE")
    pieces = context.hive.volumes.export(context.args.name, context.project)
    first = next(pieces, b"")  # a refusal comes before a file is made
    with _sink(path) as sink, Live(context.terminal) as live:
        written = sink.write(first)
        for piece in pieces:
            sink.write(piece)
            written += len(piece)
            if live.animated and path != "-":
                live.update(f"volume {context.args.name}  {show_bytes(written)}", [])
        live.clear()
    if path != "-":
        context.note(f"volume {context.args.name} written to {path}, {show_bytes(written)}")


def import_tar(context: Context) -> None:
    args, hive = context.args, context.hive
    if args.file and args.input:
        raise Invalid("the tar is given twice", hint="give it once: hivemind volume import NAME FILE")
    path = args.input or args.file or "-"
    if path == "-" and sys.stdin.isatty():
        raise Invalid(
            "no tar is given", hint="hivemind volume import NAME FILE, or … | hivemind volume import NAME -"
        )
    with _source(path) as archive, Live(context.terminal) as live:
        try:
            hive.volumes.get(args.name, context.project)
        except NotFound:
            _make(context, args.name)

        def pieces() -> Iterator[bytes]:
            sent = 0
            while piece := archive.read(_CHUNK):
                sent += len(piece)
                if live.animated:
                    live.update(f"sending {path}  {show_bytes(sent)}", [])
                yield piece

        volume = hive.volumes.bring(args.name, pieces(), context.project, replace=args.replace)
        live.clear()
    context.print(f"volume {args.name} filled, {show_bytes(volume.status.used)}")


def _sink(path: str) -> IO[bytes] | nullcontext[IO[bytes]]:
    if path == "-":
        return nullcontext(cast(IO[bytes], sys.stdout.buffer))
    try:
        return Path(path).open("wb")
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}") from None


def _source(path: str) -> IO[bytes] | nullcontext[IO[bytes]]:
    if path == "-":
        return nullcontext(cast(IO[bytes], sys.stdin.buffer))
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None


# -- backups by name -----------------------------------------------------------------------------------------


def _target(context: Context, volume: str | None) -> str:
    from hivemind.cli.commands.backup import target_of

    return target_of(context, volume)


def _backup(context: Context, target: str, volume: str, id: str) -> Any:
    from hivemind.cli.commands.backup import find_backup

    return find_backup(context, target, volume, id)


def _backup_id(context: Context, volume: str, id: str) -> str:
    return str(_backup(context, _target(context, None), volume, id).id)


def _plain(document: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(document)
