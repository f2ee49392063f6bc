"""`hivemind job validate` and `job schema`: definitions, before any hive sees them."""

from __future__ import annotations

from hivemind.cli.command import Argument, Command
from hivemind.cli.declarations.options import PLAIN_OUTPUT

_HANDLERS = "hivemind.cli.commands.job_validate"

COMMANDS = (
    Command(
        ("job", "validate"),
        "Check definitions; every mistake with its line and column.",
        f"{_HANDLERS}:validate",
        (
            Argument(
                "FILE",
                "Definitions in YAML, JSON or Python; - for standard input.",
                many=True,
                completes="file",
            ),
        ),
        (PLAIN_OUTPUT,),
        ("job validate etl.yaml", "job validate jobs/*.yaml -o json", "job validate - < etl.yaml"),
        "Asks no daemon, so calls of the project's routines are checked when the job is put. Python files are run, "
        "by you, to define their jobs. Exits with 2 when there are mistakes.",
    ),
    Command(
        ("job", "schema"),
        "Print the JSON Schema of definitions, for editors.",
        f"{_HANDLERS}:schema",
        (),
        (),
        ("job schema > job.schema.json",),
        "With it an editor completes keys and underlines mistakes while you write; docs/job-definitions.md says how.",
    ),
)
