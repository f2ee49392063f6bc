"""What holds for every file of the repository: names, first sentences, nothing of one machine, licences, locks."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, requires
from pathlib import Path

import pytest

import hivemind

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

ATTICS = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc", "stuff"}

COMPATIBLE = {
    "MIT", "MIT-0", "MIT License", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "Apache Software License",
    "ISC", "PSF-2.0",
}  # fmt: skip
"""Licences under which what we depend on may go along with a program under Apache-2.0."""


def files() -> Iterator[Path]:
    """Every file that belongs to the repository; what tools leave behind does not."""
    for top in ("src", "tests", "tools", "bench", "docs", "locks", ".ci"):
        yield from (p for p in (ROOT / top).rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    yield from (p for p in ROOT.iterdir() if p.is_file() and not p.name.startswith("."))


def modules() -> list[Path]:
    return [path for path in files() if path.suffix == ".py"]


def locked(kind: str) -> dict[str, str]:
    """Name -> version."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "locks" / f"{kind}.txt").read_text(), re.MULTILINE))


def test_every_module_says_what_it_is() -> None:
    assert len(modules()) > 200
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if not ast.get_docstring(ast.parse(path.read_text()))
        and not (path.name == "__init__.py" and path.is_relative_to(ROOT / "tests"))
    ]
    assert silent == []


def test_no_module_is_an_attic() -> None:
    named = [str(p.relative_to(ROOT)) for p in modules() if ATTICS & set(re.split(r"\W|_", p.stem))]
    named += [str(p.parent) for p in modules() if p.parent.name in ATTICS]
    assert named == []


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")
    left = [p.name for p in modules() if p.is_relative_to(ROOT / "src") and marks.search(p.read_text())]
    assert left == []


HOMES = re.compile(r"(?<![\w.$}])/(?:work|workspace|home/[a-z]+|Users/[A-Za-z]+|root/[\w.-]+)/[\w.-]+")
"""A directory of somebody's machine."""

HOSTS = re.compile(r"https?://([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,})\b", re.IGNORECASE)
KNOWN_HOSTS = {"www.apache.org", "github.com", "index.docker.io", "json-schema.org"}
OWN_HOSTS = (".local", ".hive", ".test", "example.com")


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    found = []
    for path in files():
        text = path.read_text(errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in HOMES.finditer(text)]
        hosts = set(HOSTS.findall(text)) - KNOWN_HOSTS
        found += [f"{path.relative_to(ROOT)}: {h}" for h in hosts if not h.endswith(OWN_HOSTS)]
    assert found == []


def test_locks_come_from_no_place_in_particular() -> None:
    for kind in ("runtime", "dev"):
        text = (ROOT / "locks" / f"{kind}.txt").read_text()
        assert not re.search(r"^-|://| @ ", text, re.MULTILINE)
        entries = re.split(r"\n(?=\S)", text.strip())
        assert [e.splitlines()[0] for e in entries if "--hash=sha256:" not in e] == []


def test_locks_hold_what_is_required_and_agree() -> None:
    runtime, dev = locked("runtime"), locked("dev")
    wanted = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in PROJECT["dependencies"]}
    assert wanted <= runtime.keys()
    assert runtime.items() <= dev.items(), "the environment of the tests is also the one that runs"


@pytest.mark.parametrize("name", sorted(locked("runtime")))
def test_what_runs_is_what_is_locked_under_a_licence_that_fits(name: str) -> None:
    package = distribution(name)
    assert package.version == locked("runtime")[name]
    assert licences(package) and licences(package) <= COMPATIBLE
    needed = [line for line in requires(name) or [] if ";" not in line]
    assert {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in needed} <= locked(
        "runtime"
    ).keys()


def licences(package: Distribution) -> set[str]:
    said = package.metadata
    classified = [
        c.rpartition(" :: ")[2] for c in said.get_all("Classifier", []) if c.startswith("License ::")
    ]
    named = said.get("License-Expression") or said.get("License") or ""
    if "\n" in named:  # some put the whole text there
        named = ""
    return set(re.split(r" (?:OR|AND) ", named)) if named else set(classified)


def test_the_version_is_said_once_more_only_in_the_package() -> None:
    assert hivemind.__version__ == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_licence_is_there() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
