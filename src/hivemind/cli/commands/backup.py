"""Backups, the places that hold them, and storage classes."""

from __future__ import annotations

import msgspec

from hivemind.cli.commands.volume import change
from hivemind.cli.context import Context
from hivemind.cli.flags.text import pairs
from hivemind.cli.live import Live
from hivemind.cli.output import age, show_data, show_list
from hivemind.cli.tables import render
from hivemind.errors import Invalid, NotFound
from hivemind.model.backup import BACKUP_TARGET, Backup, BackupTargetManifest
from hivemind.model.quantity import read, show_bytes
from hivemind.model.storage import STORAGE_CLASS, StorageClassManifest
from hivemind.model.volume import BackupPolicy, BackupResult, VolumeDocument

_POLICY = ("every", "keep", "verify_every")
_CONSISTENT = {
    "stopped": "nobody used it",
    "crash": "of one moment",
    "live": "in use, files copied one after another",
}


def back_up(context: Context) -> None:
    args, hive = context.args, context.hive
    volume = hive.volumes.get(args.name, context.project)
    if args.never:
        change(context, volume, backup=None)
        context.print(f"volume {args.name} is not backed up by itself any more")
        return
    if any(args.get(key) is not None for key in _POLICY):
        policy = _policy(context, volume)
        change(context, volume, backup=policy)
        context.note(f"From now on every {_span(policy.every)} to {policy.target}; {policy.keep} are kept.")
    result: BackupResult | None = None
    with Live(context.terminal) as live:
        steps = hive.volumes.back_up(args.name, context.project, target=args.target or "", verify=args.verify)
        for step in steps:
            result = step.result or result
            if live.animated:
                live.update(f"volume {args.name}  {step.done:.0%}", [])
        live.clear()
    assert result, "a backup ends with its result or an error"
    if args.get("output") in ("json", "yaml"):
        show_data(context, msgspec.to_builtins(result))
        return
    told = (
        f"volume {args.name} backed up to {result.target} as {result.id[:8]}, {show_bytes(result.added)} new"
    )
    context.print(told + (", restored and found equal" if args.verify else ""))
    if result.consistency == "live":
        from hivemind.cli.commands.volume import FUZZY

        context.note(FUZZY.format("backup"))


def _policy(context: Context, volume: VolumeDocument) -> BackupPolicy:
    args, base = context.args, volume.backup
    target = args.target or (base.target if base else "")
    if not target:
        raise Invalid(
            "no backup target is named", hint="add --target NAME; hivemind backup-target ls shows them"
        )
    given = {key: args.get(key) for key in _POLICY if args.get(key) is not None}
    before = msgspec.to_builtins(base) if base else {}
    policy: BackupPolicy = read({**before, **given, "target": target}, BackupPolicy)
    return policy


def _span(seconds: float) -> str:
    from hivemind.model.quantity import show_seconds

    return show_seconds(seconds)


def backups(context: Context) -> None:
    args = context.args
    found = context.hive.backup_targets.backups(
        target_of(context, args.name), context.project, volume=args.name or ""
    )
    if args.get("output") in ("json", "yaml"):
        show_data(context, {"items": msgspec.to_builtins(found)})
    elif not found:
        context.note("No backups.")
    else:
        rows = [
            [
                b.id[:8],
                b.volume,
                age(b.time),
                show_bytes(b.size) if b.size else "-",
                _CONSISTENT.get(b.consistency, "-"),
            ]
            for b in found
        ]
        headers = ["ID", "VOLUME", "AGE", "LIMIT", "CONSISTENT"]
        for line in render(headers, rows, context.terminal.width, context.terminal.mood):
            context.print(line)


def target_of(context: Context, volume: str | None) -> str:
    """The one that is named, else that of the volume's policy, else the only one."""
    if context.args.get("target"):
        return str(context.args.target)
    if volume:
        try:
            policy = context.hive.volumes.get(volume, context.project).backup
        except NotFound:
            policy = None
        if policy:
            return policy.target
    targets = context.hive.backup_targets.list(context.project)
    if len(targets) == 1:
        return targets[0].name
    raise Invalid(
        "which backup target is meant?", hint="add --target NAME; hivemind backup-target ls shows them"
    )


def find_backup(context: Context, target: str, volume: str, id: str) -> Backup:
    """By the beginning of its id, or the newest of that volume."""
    found = context.hive.backup_targets.backups(target, context.project)
    if id == "latest":
        found = [b for b in found if b.volume == volume][-1:]
    else:
        found = [b for b in found if b.id.startswith(id)]
    if len(found) != 1:
        many = "more than one backup" if found else "no backup"
        what = f"of volume {volume}" if id == "latest" else id
        raise NotFound(f"{target} holds {many} {what}", hint=f"hivemind volume backups --target {target}")
    return found[0]


# -- places, classes -----------------------------------------------------------------------------------------


def target_create(context: Context) -> None:
    args = context.args
    if not args.location or not args.secret:
        raise Invalid(
            "a backup target needs --location and --secret", hint="hivemind backup-target create --help"
        )
    manifest = read(
        {"name": args.name, "location": args.location, "secret": args.secret}, BackupTargetManifest
    )
    manifest.validate()
    made = context.hive.backup_targets.create(manifest, context.project)
    if all(secret.name != made.secret for secret in context.hive.secrets.list(context.project)):
        context.note(
            f"There is no secret {made.secret} yet: hivemind secret create {made.secret} --from-file password=-"
        )
    context.print(
        f"backup target {made.name} made; use it with: hivemind volume backup NAME --target {made.name}"
    )


def target_ls(context: Context) -> None:
    show_list(context, BACKUP_TARGET, context.hive.backup_targets.list(context.scope))


def target_rm(context: Context) -> None:
    for name in context.args.name:
        context.hive.backup_targets.delete(name, context.project)
        context.print(f"backup target {name} forgotten; what is there stays")


def class_create(context: Context) -> None:
    args = context.args
    wished = {
        "name": args.name,
        "driver": args.driver or "local",
        "parameters": pairs(args.parameter, "--parameter"),
    }
    manifest = read(wished, StorageClassManifest)
    manifest.validate()
    made = context.hive.storage_classes.create(manifest)
    context.print(
        f"storage class {made.name} made; use it with: hivemind volume create NAME --class {made.name}"
    )


def class_ls(context: Context) -> None:
    show_list(context, STORAGE_CLASS, context.hive.storage_classes.list())


def class_rm(context: Context) -> None:
    for name in context.args.name:
        context.hive.storage_classes.delete(name)
        context.print(f"storage class {name} removed")
