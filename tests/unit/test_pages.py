"""What the pages for users say to copy: each `hivemind` line is understood, each manifest valid, each link leads on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hivemind.cli import declarations
from hivemind.cli.command import Command, whole
from hivemind.cli.flags.app import manifest
from hivemind.cli.manifests import load
from hivemind.cli.parsing import Values, parse
from hivemind.model.app import AppManifest, AppSpec

ROOT = Path(__file__).resolve().parents[2]
_PRESENT = AppManifest(name="example", spec=AppSpec(image="example:1"))
"""What a deploy that names no image changes."""
GENERATED = ("cli.md", "configuration.md")
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED),
]
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(*languages: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if found[1] in languages:
                yield Block(page.name, text[: found.start()].count("\n") + 2, found[1], found[2])


def _commands(block: Block) -> Iterator[list[str]]:
    """The words after each `hivemind`, whatever else stands in the line: pipes, `&&`, redirections, variables."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for words in _pipeline(line):
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words[:1] == ["hivemind"] or words[:2] == ["./run", "hivemind"]:
                yield words[words.index("hivemind") + 1 :]


def _pipeline(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters, lexer.whitespace_split = "#", True
    words: list[str] = []
    tokens = list(lexer)
    while tokens:
        token = tokens.pop(0)
        if token in ("<", ">"):
            tokens.pop(0)
        elif set(token) <= set("|&;()"):
            yield words
            words = []
        else:
            words.append(token)
    yield words


def understood(words: list[str]) -> Values:
    """As `hivemind` itself finds and parses it, without doing it. Raises `Invalid`."""
    from hivemind.cli.main import _find, _global_options

    common, words = _global_options(words)
    command, rest = _find(words)
    assert command is not None, f"hivemind {' '.join(words)} is no command"
    args = parse(whole(command), rest, common)
    if command.words in (("app", "deploy"), ("run",)):
        manifest(args, args.name or "example", _PRESENT)
    return args


@pytest.mark.parametrize("block", tuple(_blocks("sh", "text")), ids=str)
def test_each_command_is_understood(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ERRNO"}')
    for words in _commands(block):
        understood(words)


def whole_manifest(text: str) -> str:
    """Of a job, pages show tasks alone, what is beside them, or indented what one of them has."""
    if text.startswith("    "):
        return f"name: example\ntasks:\n  example:\n    run: echo\n{text}"
    if re.search(r"^(name|kind):", text, re.MULTILINE):
        return text
    tasks = "" if re.search("^tasks:", text, re.MULTILINE) else "tasks: {example: {run: echo}}\n"
    return f"name: example\n{tasks}{text}"


@pytest.mark.parametrize("block", tuple(_blocks("yaml")), ids=str)
def test_each_manifest_is_valid(block: Block, tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(whole_manifest(block.text))
    for found in load([str(tmp_path / "app.yaml")]):
        if found.resource.kind == "App":
            found.value.spec.validate()


def test_examples_are_found_at_all() -> None:
    commands = [words for block in _blocks("sh") for words in _commands(block)]
    assert len(commands) > 100
    assert len(list(_blocks("yaml"))) >= 4
    assert {words[0] for words in commands} >= {"app", "run", "volume", "secret", "daemon", "logs", "cp"}


@pytest.mark.parametrize("command", [c for c in declarations.COMMANDS if c.examples], ids=lambda c: c.path)
def test_each_example_in_help_is_understood(command: Command) -> None:
    block = Block(command.path, 0, "sh", "\n".join(f"hivemind {example}" for example in command.examples))
    for words in _commands(block):
        understood(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_and_each_page_is_linked(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), link
    assert page.name == "README.md" or f"(docs/{page.name})" in (ROOT / "README.md").read_text()
