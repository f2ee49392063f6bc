"""How words become values."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.cli.command import FLAG, INTEGER, SECONDS, Argument, Command, Option
from hivemind.cli.declarations import find
from hivemind.cli.parsing import Values, parse
from hivemind.errors import Invalid

GREEDY = Command(
    ("exec",),
    "",
    arguments=(Argument("NAME", "", flag="--name"), Argument("COMMAND", "", rest=True)),
    options=(
        Option("--tty", "", "-t", FLAG),
        Option("--interactive", "", "-i", FLAG),
        Option("--env", "", "-e", many=True),
    ),
)
PLAIN = Command(
    ("app", "deploy"),
    "",
    arguments=(
        Argument("NAME", "", flag="--name"),
        Argument("COMMAND", "", required=False, rest=True, dashed=True),
    ),
    options=(
        Option("--replicas", "", "-r", INTEGER),
        Option("--port", "", "-p", many=True, alias="--publish"),
        Option("--timeout", "", kind=SECONDS),
        Option("--order", "", choices=("a", "b")),
        Option("--detach", "", "-d", FLAG),
    ),
)
LIST = Command(("get",), "", arguments=(Argument("KIND", ""), Argument("NAME", "", required=False, many=True)),
               options=(Option("--output", "", "-o"),))  # fmt: skip


def values(command: Command, line: str) -> Values:
    return parse(command, line.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("web", {"name": "web"}),
        ("--name web", {"name": "web"}),
        ("--name=web -d", {"name": "web", "detach": True}),
        ("web --replicas 3", {"replicas": 3}),
        ("-r3 web", {"replicas": 3, "name": "web"}),
        ("-r=3 web", {"replicas": 3}),
        ("web -dr 3", {"detach": True, "replicas": 3}),
        ("web -p 80 --port=81 --publish 82", {"port": ["80", "81", "82"]}),
        ("web --timeout 1m30s", {"timeout": 90.0}),
        ("web -- sh -c --name", {"command": ["sh", "-c", "--name"]}),
        ("-- web", {"name": "web"}),
        ("-- web sh", {"name": "web", "command": []}),
        ("web --detach=false", {"detach": False}),
        ("web --replicas -1", {"replicas": -1}),
    ],
)
def test_options_and_words_in_any_order(line: str, expected: dict[str, Any]) -> None:
    if line == "-- web sh":
        with pytest.raises(Invalid, match="does not expect 'sh'"):
            values(PLAIN, line)
        return
    found = values(PLAIN, line)
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize("line", ["-it web ls -la", "-i -t web -- ls -la", "-it --name web ls -la",
                                  "--name web -it -- ls -la", "-it web -- ls -la"])  # fmt: skip
def test_a_command_line_of_its_own_keeps_its_dashes(line: str) -> None:
    found = values(GREEDY, line)
    assert (found.name, found.command, found.tty, found.interactive) == ("web", ["ls", "-la"], True, True)


def test_everything_after_the_image_is_the_command() -> None:
    run = find(("run",))
    assert run is not None
    found = parse(run, ["-d", "--name", "web", "busybox", "-c", "--name", "inner"])
    assert (found.detach, found.name, found.image, found.command) == (
        True,
        "web",
        "busybox",
        ["-c", "--name", "inner"],
    )
    assert parse(run, ["busybox", "--", "ls"]).command == ["ls"]
    assert parse(run, ["busybox", "--help"]).command == ["--help"]


def test_dashes_inside_the_inner_command_stay() -> None:
    assert values(GREEDY, "web sh -c x -- y").command == ["sh", "-c", "x", "--", "y"]


def test_options_may_stand_between_words() -> None:
    found = values(LIST, "apps -o json web db")
    assert (found.kind, found.name, found.output) == ("apps", ["web", "db"], "json")


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("web --replcas 3", "has no option --replcas", "did you mean '--replicas'?"),
        ("web -z", "has no option -z", "--help lists"),
        ("web --replicas many", "--replicas: 'many' is not a whole number", ""),
        ("web --replicas", "--replicas needs", "--help"),
        ("web --replicas --detach", "--replicas needs", "--help"),
        ("web --order c", "--order does not know 'c'", "a, b"),
        ("web --detach=yes", "--detach takes no value", ""),
        ("web other", "does not expect 'other'", "after --"),
        ("web --name other", "NAME is given twice: 'web' and 'other'", ""),
        ("--replicas 3", "needs --name NAME", "usage: hivemind app deploy"),
        ("web --timeout soon", "--timeout: 'soon' is not a length of time", "1m30s"),
    ],
)
def test_mistakes_are_named_with_the_next_step(line: str, message: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        values(PLAIN, line)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_help_beats_what_is_missing() -> None:
    assert values(PLAIN, "--help").help is True


def test_an_undeclared_value_is_a_defect_not_a_default() -> None:
    with pytest.raises(AttributeError):
        values(PLAIN, "web").colour  # noqa: B018
