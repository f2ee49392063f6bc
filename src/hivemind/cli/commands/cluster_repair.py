"""`hivemind cluster snapshot …` and `force-recover`: what was agreed in a file, and going on alone."""

from __future__ import annotations

import os
from pathlib import Path

from hivemind.cli.confirm import agree
from hivemind.cli.context import Context
from hivemind.errors import Invalid, Unavailable
from hivemind.model.quantity import show_bytes


def save(context: Context) -> None:
    """Whole, or not there: it gets its name once all of it is on the disk."""
    path = Path(context.args.file)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            for piece in context.hive.cluster.snapshot():
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        aside.replace(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from None
    finally:
        aside.unlink(missing_ok=True)
    context.print(f"{path}: {show_bytes(size)}")
    context.note("Secrets in it are sealed with hive.key of a node's data directory; keep that elsewhere.")


def restore(context: Context) -> None:
    path = Path(context.args.file)
    status = context.hive.cluster.status()
    agree(context, f"All that {status.node_name} has agreed so far is replaced by what {path} holds.")
    try:
        with path.open("rb") as file:
            made = context.hive.cluster.restore(file)
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None
    context.print(
        f"{made.name or 'the hive'} goes on in lineage {made.lineage}; {made.node_name} decides alone"
    )
    context.note("Other nodes join again: hivemind cluster token create")


def recover(context: Context) -> None:
    status = context.hive.cluster.status()
    context.note(_explained(status.why_not))
    agree(context, f"{status.node_name} goes on alone with what it has, as of decision {status.sequence}.")
    done = context.hive.cluster.force_recover(status.hive)
    context.print(
        f"lineage {done.lineage}: {status.node_name} decides alone, from decision {done.sequence} on"
    )
    context.note(
        "Other nodes join again: hivemind cluster leave --force there, then hivemind cluster join TOKEN"
    )


def _explained(why_not: str) -> str:
    because = f" It cannot decide now: {why_not}." if why_not else ""
    return (
        f"This is for a hive whose voters are gone for good.{because} If they come back as they are, there are two"
        " hives that take themselves for one, each with its own containers and its own addresses. What the others"
        " decided and this node has not heard of is lost."
    )
