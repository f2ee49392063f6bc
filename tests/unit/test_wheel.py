"""What is installed: every file of the package, the command, what it depends on."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    ours = {
        str(path.relative_to(source))
        for path in (source / "hivemind").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in held if ".dist-info/" not in name} == ours
    assert {"hivemind/api/docs.html", "hivemind/py.typed"} <= ours


def test_it_says_what_it_needs(wheel: Path) -> None:
    stem = f"hivemind_orchestrator-{PROJECT['version']}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        about = message_from_bytes(archive.read(f"{stem}/METADATA"))
        assert "hivemind = hivemind.cli.main:run" in archive.read(f"{stem}/entry_points.txt").decode()
        assert archive.read(f"{stem}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (about["Name"], about["License-Expression"]) == ("hivemind-orchestrator", "Apache-2.0")
    assert about["Requires-Python"] == ">=3.11"
    assert len(about.get_all("Requires-Dist") or []) == len(PROJECT["dependencies"])


def test_it_runs_from_the_archive_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import hivemind; print(hivemind.__file__); "
    )
    program += "from hivemind.cli.main import run; sys.argv = ['hivemind', '--help']; run()"
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path)) and "Usage: hivemind COMMAND" in done.stdout
