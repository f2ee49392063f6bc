"""From words to values, as a command's declaration says.

The standard library's argparse is not used: it treats options between positional words differently in each
Python version we support, and importing it costs as much as everything else `hivemind --help` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hivemind.cli.command import (
    BYTES,
    CORES,
    FLAG,
    GLOBAL_OPTIONS,
    INTEGER,
    SECONDS,
    Argument,
    Command,
    Option,
)
from hivemind.errors import Invalid, nearest


class Values:
    """What the person wrote. Each option and argument of the declaration is an attribute."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(f"this command declares no {key!r}") from None

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` where the command declares no such thing or it was not given."""
        found = self._values.get(key)
        return default if found is None else found

    def altered(self, **values: Any) -> Values:
        """The same but for these."""
        return Values({**self._values, **values})

    def given(self, *keys: str) -> bool:
        return any(self._values.get(k) not in (None, False, []) for k in keys)


def parse(command: Command, words: Sequence[str], common: dict[str, Any] | None = None) -> Values:
    """`words` are those after the command's own. `common` holds global options read before it.

    Raises `Invalid` that names the word at fault and what was expected."""
    return Values(_Parse(command, common or {}).run(list(words)))


class _Parse:
    def __init__(self, command: Command, common: dict[str, Any]) -> None:
        self.command = command
        self.options = {s: o for o in (*GLOBAL_OPTIONS, *command.options) for s in o.spellings}
        self.by_flag = {a.flag: a for a in command.arguments if a.flag}
        self.values: dict[str, Any] = {o.key: [] if o.many else None for o in self.options.values()}
        self.values |= {o.key: False for o in self.options.values() if o.kind == FLAG and not o.switch}
        self.values |= {a.key: [] if a.many or a.rest else None for a in command.arguments}
        self.values |= common
        self.filled: set[str] = set()

    def run(self, words: list[str]) -> dict[str, Any]:
        while words:
            word = words.pop(0)
            if self._inner_begins() and word != "--":
                self._positional(word, words)
                break
            if word == "--":
                self._after_dashes(words)
                break
            if word.startswith("--"):
                self._long(word, words)
            elif word.startswith("-") and word != "-":
                self._short(word, words)
            elif self._positional(word, words):
                break
        if not self.values["help"]:
            self._complain_of_missing()
        return self.values

    # -- options ---------------------------------------------------------------------------------------------

    def _long(self, word: str, words: list[str]) -> None:
        name, equals, value = word.partition("=")
        if argument := self.by_flag.get(name):
            self._fill(argument, value if equals else self._next(name, argument.name, words))
            return
        option = self.options.get(name)
        if option is None:
            raise self._unknown(name)
        if option.kind != FLAG:
            self._store(option, value if equals else self._next(name, option.metavar or "a value", words))
        elif equals:
            self._store_flag(option, value)
        else:
            self.values[option.key] = True

    def _short(self, word: str, words: list[str]) -> None:
        letters = word[1:]
        while letters:
            option = self.options.get("-" + letters[0])
            if option is None:
                raise self._unknown("-" + letters[0])
            letters = letters[1:]
            if option.kind == FLAG:
                self.values[option.key] = True
                continue
            value = letters.removeprefix("=") or self._next(option.short, option.metavar or "a value", words)
            self._store(option, value)
            return

    def _next(self, name: str, what: str, words: list[str]) -> str:
        if not words or (words[0].startswith("--") and len(words[0]) > 2):
            raise Invalid(f"{name} needs {what}", hint=f"{self.command.path} --help shows how it is written")
        return words.pop(0)

    def _store_flag(self, option: Option, value: str) -> None:
        if value not in ("true", "false"):
            raise Invalid(
                f"{option.name} takes no value but true or false", hint=f"write {option.name} alone"
            )
        self.values[option.key] = value == "true"

    def _store(self, option: Option, text: str) -> None:
        value = convert(option, text)
        if option.many:
            self.values[option.key].append(value)
        else:
            self.values[option.key] = value

    def _unknown(self, name: str) -> Invalid:
        if nearby := dict(self.command.foreign).get(name):
            return Invalid(f"{self.command.path} has no option {name}", hint=nearby)
        close = nearest(name, [*self.options, *self.by_flag]) if name.startswith("--") else ""
        hint = close or f"{self.command.path} --help lists its options"
        return Invalid(f"{self.command.path} has no option {name}", hint=hint)

    # -- positional words ------------------------------------------------------------------------------------

    def _positional(self, word: str, words: list[str]) -> bool:
        """True when the rest of the line was taken too."""
        for argument in self.command.arguments:
            if argument.rest and argument.dashed:
                continue
            if argument.rest:
                self.values[argument.key] = _without_dashes([word, *words])
                return True
            if argument.many or argument.key not in self.filled:
                self._fill(argument, word)
                return False
        rest = self.command.rest
        hint = f"a command goes after --, like: -- {word} …" if rest else f"usage: {usage(self.command)}"
        hint = self.command.stray or hint
        raise Invalid(f"{self.command.path} does not expect {word!r}", hint=hint)

    def _inner_begins(self) -> bool:
        """Every word before an eager command line of its own has been given."""
        rest = self.command.rest
        before = [a for a in self.command.arguments if not a.rest]
        return rest is not None and rest.eager and all(a.key in self.filled for a in before)

    def _after_dashes(self, words: list[str]) -> None:
        """Nothing after `--` is an option. It starts the command line of its own where there is one."""
        rest = self.command.rest
        missing = [
            a for a in self.command.arguments if a.required and not a.rest and a.key not in self.filled
        ]
        if rest and not missing:
            self.values[rest.key], words[:] = list(words), []
            return
        while words:
            if self._positional(words.pop(0), words):
                return

    def _fill(self, argument: Argument, word: str) -> None:
        if argument.choices and word not in argument.choices:
            hint = nearest(word, argument.choices) or f"it is one of {', '.join(argument.choices)}"
            raise Invalid(f"{word!r} is not a {argument.name}", hint=hint)
        if not argument.many and argument.key in self.filled:
            raise Invalid(
                f"{argument.name} is given twice: {self.values[argument.key]!r} and {word!r}",
                hint=f"usage: {usage(self.command)}",
            )
        self.filled.add(argument.key)
        if argument.many:
            self.values[argument.key].append(word)
        else:
            self.values[argument.key] = word

    def _complain_of_missing(self) -> None:
        for argument in self.command.arguments:
            if argument.required and not self.values[argument.key]:
                what = f"{argument.flag} {argument.name}" if argument.flag else argument.name
                raise Invalid(f"{self.command.path} needs {what}", hint=f"usage: {usage(self.command)}")


def _without_dashes(words: list[str]) -> list[str]:
    return words[1:] if words and words[0] == "--" else words


def convert(option: Option, text: str) -> Any:
    """The value that `text` stands for. Raises `Invalid` naming the option."""
    if option.choices and text not in option.choices:
        raise Invalid(
            f"{option.name} does not know {text!r}", hint=f"it is one of {', '.join(option.choices)}"
        )
    reader = _reader(option.kind)
    if reader is None:
        return text
    try:
        return reader(text)
    except Invalid as error:
        raise Invalid(f"{option.name}: {error.message}", hint=error.hint) from None


def _reader(kind: str) -> Callable[[str], Any] | None:
    if kind == INTEGER:
        return _integer
    if kind in (SECONDS, BYTES, CORES):
        from hivemind.model import quantity

        return {SECONDS: quantity.parse_seconds, BYTES: quantity.parse_bytes, CORES: quantity.parse_cores}[
            kind
        ]
    return None


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Invalid(f"{text!r} is not a whole number", hint="write digits only, like 3") from None


def usage(command: Command) -> str:
    """`hivemind app scale [OPTIONS] NAME`."""
    parts = [command.path]
    if command.options:
        parts.append("[OPTIONS]")
    for argument in command.arguments:
        shown = f"{argument.name}…" if argument.many or argument.rest else argument.name
        shown = f"-- {shown}" if argument.dashed else shown
        parts.append(shown if argument.required else f"[{shown}]")
    return " ".join(parts)
