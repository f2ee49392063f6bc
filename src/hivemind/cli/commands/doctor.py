"""`hivemind doctor`: prints what `cli.doctor` finds."""

from __future__ import annotations

import os

from hivemind.cli.context import Context
from hivemind.cli.doctor import examine
from hivemind.cli.findings import FAIL, OK, Machine
from hivemind.cli.output import show_data


def doctor(context: Context) -> int:
    from hivemind.client.endpoint import default_data_dir, default_endpoint

    args, environ = context.args, os.environ
    found = examine(
        Machine(
            user=os.geteuid(),
            endpoint=args.host or environ.get("HIVEMIND_HOST") or default_endpoint(),
            data_dir=environ.get("HIVEMIND_DATA_DIR") or str(default_data_dir()),
            token=args.token or environ.get("HIVEMIND_TOKEN", ""),
            ca=args.ca or environ.get("HIVEMIND_CA", ""),
        )
    )
    bad = any(f.level == FAIL for f in found.values())
    if args.output in ("json", "yaml"):
        show_data(context, {"ok": not bad, "checks": [{"name": n, **f._asdict()} for n, f in found.items()]})
        return int(bad)
    lead = max(len(name) for name in found)
    for name, finding in found.items():
        word = context.terminal.mood(finding.level) + " " * (4 - len(finding.level))
        context.print(f"{word}  {name:<{lead}}  {finding.found}")
        if finding.mend and finding.level != OK:
            context.print(f"{'':<{lead + 6}}  → {finding.mend}")
    context.print()
    context.print("This machine cannot run containers yet." if bad else "This machine is ready.")
    return int(bad)
