"""Which failures are meant: the words of `Retry.on` and `Circuit.on`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hivemind.errors import Invalid
from hivemind.jobs import expression
from hivemind.jobs.book import Ended

WORDS = ("exit", "signal", "oom", "timeout", "start")
"""Each a `Cause`."""
_EXIT = re.compile(r"exit:(\d{1,3})(?:-(\d{1,3}))?")
_SIGNAL = re.compile(r"signal:(?:SIG)?([A-Z][A-Z0-9]+)")
_LINUX = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG"
    " XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
_NAMES = dict(enumerate(_LINUX.split(), 1))
"""Of signals by their number, as Linux has them."""
_NUMBERS = {name: number for number, name in _NAMES.items()}
_BY_SIGNAL = 128
"""How much more than its number the exit code is of what a signal ended."""


def matches(on: Sequence[str], how: Ended, attempt: int) -> bool:
    """Whether any of them names the way in which that attempt failed; none names nothing.

    An expression that cannot be evaluated does not match."""
    return any(_matches(word, how, attempt) for word in on)


def check(word: str) -> None:
    """Raises `Invalid` unless it is one of the words, or an expression."""
    if word in WORDS:
        return
    if word.startswith("exit:"):
        if not _EXIT.fullmatch(word):
            raise Invalid(f"{word!r} is no exit code", hint="write exit:3 or exit:10-19")
    elif word.startswith("signal:"):
        if _number(word) is None:
            raise Invalid(f"{word!r} is no signal", hint="write its name, as signal:KILL")
    else:
        expression.check(word)


def _matches(word: str, how: Ended, attempt: int) -> bool:
    if word in WORDS:
        return how.cause == word
    if exit := _EXIT.fullmatch(word):
        first, last = int(exit[1]), int(exit[2] or exit[1])
        return how.cause == "exit" and how.exit_code is not None and first <= how.exit_code <= last
    if word.startswith("signal:"):
        number = _number(word)
        return how.cause == "signal" and number is not None and how.exit_code == _BY_SIGNAL + number
    scope = {"exit_code": how.exit_code, "signal": name_of(how), "reason": how.reason, "attempt": attempt}
    try:
        return expression.truth(word, scope)
    except Invalid:
        return False


def name_of(how: Ended) -> str:
    """The signal that ended it, as `KILL`; empty: none did."""
    if how.cause != "signal" or how.exit_code is None:
        return ""
    return _NAMES.get(how.exit_code - _BY_SIGNAL, "")


def _number(word: str) -> int | None:
    named = _SIGNAL.fullmatch(word)
    return _NUMBERS.get(named[1]) if named else None
