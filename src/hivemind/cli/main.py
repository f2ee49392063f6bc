"""The entry of the command line: finds the command, parses, runs it, and says what went wrong."""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

from hivemind.cli import declarations
from hivemind.cli.command import FLAG, GLOBAL_OPTIONS, Command, whole
from hivemind.cli.parsing import Values, convert, parse
from hivemind.cli.terminal import Terminal
from hivemind.errors import HivemindError, Invalid, nearest

INTERRUPTED = 130
_PIPE_CLOSED = 141


def run() -> None:
    """The console script."""
    _reopen_closed_streams()
    sys.exit(main(sys.argv[1:]))


def main(words: list[str], terminal: Terminal | None = None) -> int:
    """Runs one command line and returns its exit code. Nothing but a defect raises."""
    terminal = terminal or Terminal()
    verbose = _wants_trace(words)
    try:
        code = _dispatch(words, terminal)
        terminal.out.flush()
        return code
    except HivemindError as error:
        _explain(error, terminal, verbose, json=_wants_json(words))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough. Python would complain while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _PIPE_CLOSED
    except RecursionError:
        _explain(Invalid("that is nested too deeply"), terminal, verbose)
        return Invalid.exit_code


def _wants_trace(words: list[str]) -> bool:
    """`-v` means a volume to some commands: it counts before the command, and as the last word."""
    before = itertools.takewhile(lambda word: word.startswith("-"), words)
    return "--verbose" in words or "-v" in before or words[-1:] == ["-v"]


def _dispatch(words: list[str], terminal: Terminal) -> int:
    common, words = _global_options(words)
    if not words:
        return _help(terminal)
    command, rest = _find(words)
    if command is None:
        return _help(terminal, group=words[0])
    command = whole(command)
    try:
        args = parse(command, rest, common)
        return _help(terminal, command=command) if args.get("help") else _perform(command, args, terminal)
    except Invalid as error:
        error.hint = error.hint or f"{command.path} --help shows how it is written"
        raise


def _help(terminal: Terminal, *, group: str = "", command: Command | None = None) -> int:
    """Of one of them, or of everything."""
    from hivemind.cli import help

    width = min(terminal.width, 100)
    noun = declarations.group(group)
    if command is not None:
        terminal.out.write(help.command(command, width))
    else:
        terminal.out.write(help.group(noun, width) if noun else help.root(width))
    return 0


def _global_options(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Those before the command. `--version` there is the command of that name."""
    known = {s: o for o in GLOBAL_OPTIONS for s in o.spellings}
    common: dict[str, Any] = {}
    words = list(words)
    while words and words[0].startswith("-"):
        name, equals, value = words.pop(0).partition("=")
        if name == "--version":
            return common, ["version"]
        option = known.get(name)
        if option is None:
            hint = nearest(name, known) or "hivemind --help lists what there is"
            raise Invalid(f"hivemind has no option {name}", hint=hint)
        if option.kind == FLAG:
            common[option.key] = True
        elif equals or words:
            common[option.key] = convert(option, value if equals else words.pop(0))
        else:
            raise Invalid(f"{name} needs {option.metavar}")
    if common.pop("help", False):
        return (common, [*words, "--help"]) if words else (common, [])
    return common, words


def _find(words: list[str]) -> tuple[Command | None, list[str]]:
    """The command and the words after it; None for the name of a group alone."""
    first, rest = words[0], words[1:]
    if first == "daemon":
        from hivemind.cli.declarations.daemon import DAEMON

        return DAEMON, rest
    if declarations.group(first):
        if not rest or rest[0] in ("-h", "--help"):
            return None, []
        command, after = declarations.leading(words)
        if command:
            return command, after
        known = [" ".join(c.words[1:]) for c in declarations.verbs(first)]
        hint = nearest(rest[0], known) or f"hivemind {first} knows {', '.join(known)}"
        raise Invalid(f"hivemind {first} has no command {rest[0]!r}", hint=hint)
    if command := declarations.find((first,)):
        return command, rest
    names = [c.words[0] for c in declarations.COMMANDS if not c.hidden]
    raise Invalid(
        f"hivemind has no command {first!r}",
        hint=nearest(first, names) or "hivemind --help lists what there is",
    )


def _perform(command: Command, args: Values, terminal: Terminal) -> int:
    import importlib

    from hivemind.cli.context import Context

    module, _, name = command.handler.partition(":")
    context = Context(args, terminal)
    try:
        return getattr(importlib.import_module(module), name)(context) or 0
    finally:
        context.close()


def _wants_json(words: list[str]) -> bool:
    """Looked for by hand: what was wrong may be the very line that asks for it."""
    own = words[: words.index("--")] if "--" in words else words
    pairs = zip(own, [*own[1:], ""], strict=True)
    return any(
        w in ("-ojson", "--output=json") or (w in ("-o", "--output") and v == "json") for w, v in pairs
    )


def _explain(error: HivemindError, terminal: Terminal, verbose: bool, *, json: bool = False) -> None:
    """For people; with `-o json` for programs, as the API's problem documents."""
    if verbose:
        import traceback

        terminal.note(traceback.format_exc().rstrip())
    if json:
        import msgspec

        from hivemind.model.answers import problem

        terminal.note(msgspec.json.encode(problem(error)).decode())
        return
    terminal.note(f"{terminal.paint('error:', 'red', 'bold')} {error.message}")
    if error.hint:
        terminal.note(f"{terminal.paint('hint:', 'bold')} {error.hint}")


def _reopen_closed_streams() -> None:
    """A parent may have closed descriptors 0 to 2; the next file opened would silently take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))
