"""`hivemind run IMAGE`: docker's run. An app of one replica whose end is this command's end."""

from __future__ import annotations

import secrets
import sys
import time

from hivemind.cli import convergence
from hivemind.cli.changes import Changes
from hivemind.cli.commands.logs import Printer
from hivemind.cli.context import Context
from hivemind.cli.flags.app import manifest
from hivemind.errors import HivemindError, Invalid, NotFound
from hivemind.model.allocation import AllocationDocument
from hivemind.model.app import AppManifest, AppSpec, Restart
from hivemind.model.image import parse_reference

_INTERRUPTED = 130


def run(context: Context) -> int:
    args = context.args
    if args.detach and args.rm:
        raise Invalid(
            "--rm needs somebody who waits for the end", hint="leave out -d, or remove it later: hivemind rm"
        )
    if args.tty and args.interactive and not args.detach and not sys.stdin.isatty():
        raise Invalid("standard input is not a terminal", hint="leave out -t")
    name = args.name or _made_up(args.image)
    wished = manifest(args, name, AppManifest(name=name, spec=AppSpec(restart=Restart(policy="no"))))
    if args.detach:
        changes = convergence.watch(context, name)
        app = context.hive.apps.create(wished, context.project)
        _begin(context, changes, name, _under_way, app.status.deployment)
        context.print(name)
        return 0
    left = False
    try:
        if args.tty or args.interactive:
            code = _attached(context, wished)
            left = code is None
            return code or 0
        changes = convergence.watch(context, name)
        context.hive.apps.create(wished, context.project)
        return _follow(context, changes, name)
    except KeyboardInterrupt:
        context.note("")
        _stop(context, name)
        return _INTERRUPTED
    finally:
        if args.rm and not left:
            _remove(context, name)


def _attached(context: Context, wished: AppManifest) -> int | None:
    """With this terminal or input tied to it from its first moment on. None when the person left and it goes on."""
    from hivemind.cli.attach import DETACH, attach, detach_keys, size

    args, name = context.args, wished.name
    keys = detach_keys(args.get("detach_keys", DETACH))
    columns, rows = size() if args.tty else (0, 0)
    with context.hive.apps.attach_next(name, context.project, columns=columns, rows=rows) as session:
        changes = convergence.watch(context, name)
        app = context.hive.apps.create(wished, context.project)
        _begin(context, changes, name, _begun, app.status.deployment)
        code = attach(session, interactive=args.interactive, tty=args.tty, detach=keys)
    if code is None:
        context.note(f"\r\nleft; it goes on: hivemind attach {name}")
    return code


def _made_up(image: str) -> str:
    """`nginx-3f9a`: a name that says what it is."""
    base = parse_reference(image).repository.rsplit("/", 1)[-1] if image else "run"
    clean = "".join(c if c.isalnum() else "-" for c in base).strip("-")[:40]
    return f"{clean}-{secrets.token_hex(2)}"


def _begin(
    context: Context, changes: Changes, name: str, done: convergence.Done, deployment: str = ""
) -> None:
    """Waits until it runs. What never ran, and will not, leaves nothing: a mistyped image is no app."""
    try:
        convergence.settle(context, changes, name, done, f"{name}: starting", deployment=deployment)
    except convergence.Failed as failed:
        view = convergence.look(context, name)
        if _under_way(view) or any(a.state == "pending" for a in view.live):
            raise
        _remove(context, name)
        raise convergence.Failed(
            failed.message, hint="nothing of it is left; check the image and the command, then run it again"
        ) from None


def _under_way(view: convergence.View) -> bool:
    """It runs, or ran and has already ended."""
    return any(a.status.started or a.status.last or a.exit_code is not None for a in view.allocations)


def _begun(view: convergence.View) -> bool:
    """The same; one that was removed at once by somebody else is none of our waiting, either."""
    return view.app is None or _under_way(view)


def _follow(context: Context, changes: Changes, name: str) -> int:
    """Prints what its replicas write, one after the other, until the app has ended for good."""
    printer = Printer(context)
    replica = _started(context, changes, name)
    for entry in context.hive.allocations.logs_follow(replica.id, context.project):
        printer.print(entry)
    return _exit_code(context, changes, replica)


def _started(context: Context, changes: Changes, name: str) -> AllocationDocument:
    patience = context.args.get("timeout", convergence.PATIENCE)
    _begin(context, changes, name, _under_way)
    for _ in changes.looks(time.monotonic() + patience):
        if replicas := context.hive.allocations.list(context.project, app=name):
            return max(replicas, key=lambda a: a.attempt)
    raise NotFound(f"{name} is gone", hint="somebody else removed it")


def _exit_code(context: Context, changes: Changes, replica: AllocationDocument) -> int:
    for _ in changes.looks(None):
        now = context.hive.allocations.get(replica.id, context.project)
        if convergence.ended(now):
            if now.exit_code is None or (now.status.last and now.status.last.oom):
                context.note(f"{now.app} ended: {now.reason or now.status.message or now.state}")
            return now.exit_code if now.exit_code is not None else 1
    raise AssertionError("changes without a deadline do not end")


def _stop(context: Context, name: str) -> None:
    changes = convergence.watch(context, name)
    try:
        context.hive.apps.stop(name, context.project)
    except NotFound:
        return
    context.note(f"stopping {name}; Ctrl-C again leaves it to the daemon")
    convergence.settle(context, changes, name, convergence.gone, f"{name}: stopping")


def _remove(context: Context, name: str) -> None:
    try:
        context.hive.apps.delete(name, context.project)
    except NotFound:
        return
    except HivemindError as error:
        context.note(f"{name} could not be removed: {error.message}")
