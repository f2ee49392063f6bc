"""Where it runs and how it is updated."""

from __future__ import annotations

from typing import Any

from hivemind.cli.flags.text import changed
from hivemind.cli.parsing import Values
from hivemind.model.app import AppSpec


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    return {
        "constraints": tuple(args.constraint) or None,
        "on_partition": args.on_partition,
        "placement": args.placement,
        "priority": args.priority,
        "update": changed(
            base.update,
            order=args.update_order,
            max_parallel=args.update_parallel,
            max_surge=args.update_surge,
            min_healthy_time=args.update_min_healthy,
            healthy_deadline=args.update_deadline,
            progress_deadline=args.progress_deadline,
            auto_rollback=False if args.no_rollback else True if args.rollback else None,
        ),
    }
