"""`./run`: what it says, and that its environment is made once, by one at a time, and again when it is not whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYTHON = """\
#!/bin/sh
# Stands for Python: it notes what it is asked, and makes environments that hold it again.
[ ! -e "$CLONE/old" ] || exit 1
case "$*" in
"-VV") echo "Python 3.99" ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo venv >>"$CLONE/calls" ;;
"-m pip "*) echo "pip ${*##*/}" >>"$CLONE/calls"; sleep "${PIP_TAKES:-0}"; [ ! -e "$CLONE/pip-breaks" ] ;;
*get_path*) mkdir -p "$CLONE/.venv/site" && echo "$CLONE/.venv/site" ;;
"-P -m hivemind "*) echo "in $(pwd): $*" ;;
"-m pytest "*) echo "$*" && exit 3 ;;
"-m hivemind."*) printf 'made by %s\\n' "$2" && [ ! -e "$CLONE/$2-breaks" ] ;;
esac
"""


class Clone:
    """A copy of the door, with a Python that only pretends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "locks").mkdir(parents=True)
        (path / "docs").mkdir()
        (path / "tests").mkdir()
        (path / "tests/apt-packages.txt").write_text("dpkg\n")
        for kind in ("runtime", "dev"):
            (path / f"locks/{kind}.txt").write_text(f"what is locked for {kind}\n")
        shutil.copy(ROOT / "run", path / "run")
        self.python = path / "python-of-the-machine"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)

    def start(self, *words: str, cwd: Path | None = None, **environ: str) -> subprocess.Popen[str]:
        environ = {"PATH": os.defpath, "HOME": "/nowhere", "PYTHON": str(self.python)} | environ
        return subprocess.Popen(
            [str(self.path / "run"), *words],
            cwd=cwd or "/",
            env=environ | {"CLONE": str(self.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, cwd: Path | None = None, **environ: str) -> tuple[int, str, str]:
        with self.start(*words, cwd=cwd, **environ) as door:
            out, err = door.communicate(timeout=60)
        return door.returncode, out, err

    @property
    def calls(self) -> list[str]:
        noted = self.path / "calls"
        return noted.read_text().splitlines() if noted.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "a clone")


def test_it_is_sound_shell() -> None:
    for script in ("run", ".ci/run"):
        assert (ROOT / script).read_text().startswith("#!/bin/sh\n")
        assert os.access(ROOT / script, os.X_OK)
        subprocess.run(["sh", "-n", str(ROOT / script)], check=True)


def test_it_says_what_it_can(clone: Clone) -> None:
    code, out, err = clone.run()
    assert (code, err) == (0, "") and out == clone.run("help")[1] == clone.run("--help")[1]
    for command in ("demo", "test", "check", "docs", "bench", "hivemind", "clean"):
        assert f"\n  {command} " in out
    code, out, err = clone.run("dmeo")
    assert (code, out) == (2, "") and "error: there is no command 'dmeo'" in err and "usage: ./run" in err
    assert clone.calls == []


def test_the_environment_is_made_once(clone: Clone) -> None:
    code, out, err = clone.run("hivemind", "ps", "-a")
    assert (code, out) == (0, "in /: -P -m hivemind ps -a\n") and "preparing" in err
    assert clone.run("hivemind", "ps") == (0, "in /: -P -m hivemind ps\n", "")
    assert clone.calls == ["venv", "pip runtime.txt"]
    assert (clone.path / ".venv/site/hivemind.pth").read_text() == f"{clone.path}/src\n"


def test_what_is_for_development_is_added(clone: Clone) -> None:
    clone.run("hivemind", "ps")
    assert clone.run("test", "tests/unit", "-x")[:2] == (3, "-m pytest tests/unit -x\n")
    assert clone.run("test") == (3, "-m pytest tests\n", "")
    assert clone.run("hivemind", "ps")[2] == ""
    assert clone.calls == ["venv", "pip runtime.txt", "pip dev.txt"]


def test_the_callers_directory_counts_for_commands(clone: Clone, tmp_path: Path) -> None:
    assert clone.run("hivemind", "load", cwd=tmp_path)[1] == f"in {tmp_path}: -P -m hivemind load\n"


def test_what_broke_off_is_made_anew(clone: Clone) -> None:
    (clone.path / "pip-breaks").touch()
    assert clone.run("hivemind", "ps")[:2] == (1, "")
    (clone.path / "pip-breaks").unlink()
    leftover = clone.path / ".venv/half-written"
    leftover.touch()
    assert clone.run("hivemind", "ps")[0] == 0
    assert clone.calls == ["venv", "pip runtime.txt"] * 2 and not leftover.exists()
    (clone.path / "pip-breaks").touch()
    assert clone.run("test")[0] == 1
    (clone.path / "pip-breaks").unlink()
    assert clone.run("hivemind", "ps")[0] == 0
    assert clone.calls[4:] == ["pip dev.txt", "venv", "pip runtime.txt"]


def test_another_lock_another_environment(clone: Clone) -> None:
    clone.run("hivemind", "ps")
    (clone.path / "locks/runtime.txt").write_text("something newer\n")
    clone.run("hivemind", "ps")
    assert clone.calls == ["venv", "pip runtime.txt"] * 2


def test_a_clone_that_moved_makes_its_own(clone: Clone, tmp_path: Path) -> None:
    clone.run("hivemind", "ps")
    clone.path = clone.path.rename(tmp_path / "elsewhere")
    clone.python = clone.path / clone.python.name
    assert clone.run("hivemind", "ps")[0] == 0
    assert (clone.path / ".venv/site/hivemind.pth").read_text() == f"{clone.path}/src\n"


def test_two_at_once_make_one(clone: Clone) -> None:
    doors = [clone.start("hivemind", "ps", PIP_TAKES="0.2") for _ in range(4)]
    for door in doors:
        out, _ = door.communicate(timeout=60)
        assert (door.returncode, out) == (0, "in /: -P -m hivemind ps\n")
    assert clone.calls == ["venv", "pip runtime.txt"]


def test_a_python_that_is_too_old_is_refused(clone: Clone) -> None:
    (clone.path / "old").touch()
    code, out, err = clone.run("hivemind", "ps")
    assert (code, out) == (1, "")
    assert f"tried: {clone.python}" in err and "hint: on Debian or Ubuntu: apt-get install python3" in err


def test_a_page_that_cannot_be_made_stays(clone: Clone) -> None:
    assert clone.run("docs")[0] == 0
    assert (clone.path / "docs/cli.md").read_text() == "made by hivemind.cli.reference\n"
    (clone.path / "docs/cli.md").write_text("kept\n")
    (clone.path / "hivemind.daemon.reference-breaks").touch()
    assert clone.run("docs")[0] == 1
    assert (clone.path / "docs/cli.md").read_text() == "kept\n"


def test_cleaning_leaves_what_was_cloned(clone: Clone) -> None:
    before = sorted(p for p in clone.path.rglob("*"))
    clone.run("hivemind", "ps")
    for name in (".cache/images", ".mypy_cache", ".hypothesis", "docs/__pycache__"):
        (clone.path / name).mkdir(parents=True)
    (clone.path / "calls").unlink()
    assert clone.run("clean") == (0, "", "")
    assert sorted(p for p in clone.path.rglob("*")) == before
