"""What a --dry-run answers, as a table."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.output import show_data
from hivemind.cli.tables import render
from hivemind.model.answers import PlanStep


def show_plan(context: Context, steps: Sequence[PlanStep]) -> None:
    if context.args.get("output") in ("json", "yaml"):
        show_data(context, {"steps": [msgspec.to_builtins(step) for step in steps]})
        return
    if not steps:
        context.print("Nothing would change.")
        return
    rows = [(s.action, s.object, s.node or "-", s.detail or "-") for s in steps]
    for line in render(("ACTION", "OBJECT", "NODE", "DETAIL"), rows, context.terminal.width):
        context.print(line)
