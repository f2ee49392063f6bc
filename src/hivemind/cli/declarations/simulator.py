"""`hivemind sim`: the protocols in a simulated world."""

from __future__ import annotations

from hivemind.cli.command import FLAG, INTEGER, SECONDS, Command, Option
from hivemind.cli.declarations.options import PLAIN_OUTPUT

PROTOCOLS = ("pbft", "swim", "autobee", "hive", "kademlia", "channel")

COMMANDS = (
    Command(
        ("sim",),
        "Run the hive's protocols in a simulated world, under faults and liars.",
        "hivemind.cli.commands.simulator:sim",
        (),
        (
            Option("--seed", "Decides everything that happens (a random one).", kind=INTEGER, metavar="N"),
            Option("--runs", "Run so many seeds, one after the other (1).", kind=INTEGER, metavar="N"),
            Option("--protocol", "What is run (pbft).", metavar="NAME", choices=PROTOCOLS),
            Option("--nodes", "How many there are (4).", kind=INTEGER, metavar="N"),
            Option(
                "--faults",
                "Which kinds happen, with commas; all, or none (all).",
                metavar="KINDS",
            ),
            Option(
                "--adversary",
                "How as many nodes lie as may; all: each way in turn; list: what there are.",
                metavar="NAME",
            ),
            Option(
                "--seconds", "Of the simulated world, until all is healed (10).", kind=SECONDS, metavar="TIME"
            ),
            Option("--real-crypto", "Sign with Ed25519 instead of something quicker.", kind=FLAG),
            Option("--trace", "Print everything that happened.", kind=FLAG),
            Option("--shrink", "Leave out of a run that failed what it does not need to fail.", kind=FLAG),
            Option("--only-faults", "Of the seed's faults only those with these numbers.", metavar="N,N"),
            Option("--only-operations", "Of the seed's operations only those.", metavar="N,N"),
            Option(
                "--jobs",
                "Processes that run seeds side by side (one for each core).",
                kind=INTEGER,
                metavar="N",
            ),
            PLAIN_OUTPUT,
        ),
        (
            "sim --seed 7",
            "sim --runs 100 --nodes 7 --faults loss,partition,crash --adversary equivocating-primary --seconds 30",
            "sim --protocol swim --adversary list",
        ),
        "Needs no daemon. Checks what must hold after every event, then heals the world and demands progress. Exits"
        " with 1 when a run fails, and says how to repeat it; see docs/simulator.md.",
        "Hive",
    ),
)
