"""`hivemind circuit …`."""

from __future__ import annotations

from hivemind.cli.context import Context
from hivemind.cli.output import show_list
from hivemind.model.circuit import CIRCUIT, CircuitDocument


def ls(context: Context) -> None:
    show_list(context, CIRCUIT, context.hive.circuits.list(context.scope))


def open(context: Context) -> None:
    args = context.args
    _tell(context, context.hive.circuits.open(args.name, context.project, reason=args.reason or ""))


def close(context: Context) -> None:
    args = context.args
    _tell(context, context.hive.circuits.close(args.name, context.project, reason=args.reason or ""))


def auto(context: Context) -> None:
    args = context.args
    _tell(context, context.hive.circuits.auto(args.name, context.project, reason=args.reason or ""))


def _tell(context: Context, circuit: CircuitDocument) -> None:
    context.print(f"circuit/{circuit.name} {circuit.shown}")
