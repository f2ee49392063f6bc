"""docs/quickstart.md, carried out: every command of it, in its order. And what the README says of several machines."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import debimage
import pytest

from tests.e2e.cluster import Rig, decides
from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually
from tests.e2e.leftovers import COMMAND, ROOT, environment, inside

pytestmark = pytest.mark.real

QUICKSTART = ROOT / "docs/quickstart.md"
ELSEWHERE = {
    "./run hivemind daemon": "the test starts its own",
    "./run hivemind pull REFERENCE": "no registry can be reached from a test",
    "./run hivemind load -i image.tar": "the archive of the reader's own",
}
"""Commands that are not carried out here, and why."""


def blocks(language: str, text: str = "") -> list[str]:
    """Of that text, or of the whole page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text or QUICKSTART.read_text(), re.MULTILINE | re.DOTALL)


def test_every_command_of_the_quickstart_works(hatch: Hatch, tmp_path: Path) -> None:
    debimage.build("web")  # No package can be fetched from the daemon's namespace.
    daemon = hatch()
    daemon.start()
    for text in blocks("yaml"):
        (name,) = re.findall(r"^# (\S+)$", text, re.MULTILINE)
        (tmp_path / name).write_text(text)
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    commands = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines() if line]
    assert ELSEWHERE.keys() <= set(commands), "a command that is left out is not there any more"
    done = []
    for line in commands:
        if line in ELSEWHERE:
            continue
        if line.startswith("dig ") and not shutil.which("dig"):
            assert daemon.resolve(line.split()[-1])
            continue
        done.append(line)
        output = carry_out(daemon, line, tmp_path)
        if line.startswith("curl "):
            assert "Hello from web-app-" in output
    assert len(done) > 10 and done[-1] == "./run hivemind app rm web-app"
    daemon.remove_apps()
    daemon.destroy()


def carry_out(daemon: Daemon, line: str, directory: Path) -> str:
    """`events` follows without end, so what it printed until then counts."""
    own = re.sub(r"^\./run hivemind\b", shlex.join(COMMAND), line)
    own = re.sub(r"^python3\b", shlex.quote(COMMAND[0]), own)
    env = {**environment(), "HIVEMIND_HOST": f"unix://{daemon.socket}"}
    follows = line == "./run hivemind events"
    if follows:
        own = f"timeout --preserve-status --signal=INT 3 {own}"
    done = subprocess.run(
        [*inside(daemon.home), "sh", "-c", own],
        env=env,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == (130 if follows else 0), f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_several_machines_become_one_hive_as_the_readme_says(hatch: Hatch, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().partition("## Several machines, one hive")[2]
    here, there, _ = blocks("sh", section.partition("\n## ")[0])
    first, *others = members = Rig(hatch).start(3)
    printed = [carry_out(first, line, tmp_path) for line in here.splitlines()]
    token = printed[-1].strip()
    assert token.startswith("hvjoin_") and there.count("hvjoin_…") == 1
    for member in others:
        for line in there.replace("hvjoin_…", token).splitlines():
            shown = carry_out(member, line, tmp_path)
        assert "office" in shown and "decides:    yes" in shown
    eventually(lambda: decides(first, 3), "all of them decide")
    for member in members:
        member.destroy()
