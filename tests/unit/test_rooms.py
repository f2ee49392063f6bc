"""The rooms' import rules have teeth: a small copy of the program that breaks one is refused."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "src" / "hivemind"
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
FLOORS = [[name.strip() for name in floor.split("|")] for floor in RULES[0]["layers"]]
PURE = RULES[1]["source_modules"]

# fmt: off
HARMLESS = {
    "__future__", "abc", "base64", "bisect", "calendar", "collections", "contextlib", "dataclasses", "datetime",
    "difflib", "enum", "functools", "hashlib", "heapq", "hivemind", "hmac", "ipaddress", "itertools", "json", "math",
    "msgspec", "nacl", "operator", "re", "shlex", "string", "struct", "types", "typing", "unicodedata", "yaml",
    "zlib",
}
# fmt: on
"""All that pure rooms may know of the world: values in, values out."""
BESIDES = {"zones.py": {"importlib", "zoneinfo"}}
"""The rules of time zones are data of a pinned package."""
CLOCKS = ("now", "utcnow", "today")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Every room, empty, under the program's own rules."""
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "hivemind").mkdir()
    for path in ["hivemind", *(name.replace(".", "/") for floor in FLOORS for name in floor)]:
        (tmp_path / path).mkdir(exist_ok=True)
        (tmp_path / path / "__init__.py").touch()
    return tmp_path


def lint(copy: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    environ = {**os.environ, "PYTHONPATH": str(copy)}
    return subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True)


def test_the_copy_is_sound(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("room", "line", "imported"),
    [
        ("model", "from hivemind.state import State", "hivemind.state"),
        ("store", "import hivemind.ledger.local", "hivemind.ledger.local"),
        ("api", "def late():\n    import hivemind.daemon.node", "hivemind.daemon.node"),
        ("state", "import time", "time"),
        ("scheduler", "from os import urandom", "os"),
        ("security", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asyncio", "asyncio"),
    ],
)
def test_what_breaks_a_rule_is_refused(copy: Path, room: str, line: str, imported: str) -> None:
    for name in ("ledger/local", "daemon/node"):
        (copy / "hivemind" / f"{name}.py").touch()
    (copy / "hivemind" / room / "room.py").write_text(line + "\n")
    done = lint(copy)
    assert done.returncode == 1, done.stdout
    assert f"hivemind.{room}.room -> {imported} " in done.stdout


def test_every_room_has_its_floor() -> None:
    rooms = {
        f"hivemind.{path.stem}"
        for path in PROGRAM.iterdir()
        if (path.is_dir() and path.name != "__pycache__") or path.suffix == ".py"
    }
    assert {name for floor in FLOORS for name in floor} == rooms - {"hivemind.__init__", "hivemind.__main__"}


def test_everything_below_the_drivers_is_pure() -> None:
    below = FLOORS[FLOORS.index(["hivemind.state"]) :]
    assert set(PURE) == {name for floor in below for name in floor}


def pure_modules() -> Iterator[Path]:
    for name in PURE:
        room = ROOT / "src" / name.replace(".", "/")
        yield from room.rglob("*.py") if room.is_dir() else [room.with_suffix(".py")]


def test_pure_rooms_know_nothing_of_the_world() -> None:
    modules = list(pure_modules())
    assert len(modules) > 40
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            strange = {name.partition(".")[0] for name in names} - HARMLESS - BESIDES.get(module.name, set())
            assert not strange, f"{module} imports {strange}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print", "input", "__import__"), (
                    f"{module}: {node.func.id}()"
                )
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in CLOCKS, f"{module}: .{node.func.attr}()"
