"""Volumes under real databases: what was committed is there, row by row, whatever died meanwhile."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

DATABASE = (
    "--image", "postgres:1", "--health-cmd", "pg_isready -h 127.0.0.1", "--health-interval", "0.3s",
    "--health-start-period", "60s", "--update-min-healthy", "0s",
)  # fmt: skip
IDLE = ("--image", "busybox:1", "--stop-signal", "SIGKILL", "--update-min-healthy", "0s")
PGDATA = "/var/lib/postgresql/data"


@pytest.fixture(scope="module")
def node(hatch: Hatch) -> Iterator[Daemon]:
    daemon = hatch()
    daemon.start()
    daemon.load("busybox", "postgres", "redis")
    yield daemon
    daemon.destroy()
    assert not disks(daemon), "no loop device outlives the node"


@pytest.fixture(autouse=True)
def tidy(node: Daemon) -> Iterator[None]:
    yield
    node.remove_apps()


def disks(daemon: Daemon) -> list[str]:
    """Loop devices whose file is, or was, the node's."""
    listed = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], capture_output=True
    )
    return [line for line in listed.stdout.decode().splitlines() if str(daemon.home) in line]


def sql(node: Daemon, app: str, statement: str) -> str:
    return node.cli("exec", app, "psql", "-h", "127.0.0.1", "-U", "postgres", "-qAtc", statement).out.strip()


def rows(node: Daemon, app: str) -> list[str]:
    return sql(node, app, "select n || ':' || body from items order by n").splitlines()


def fill(node: Daemon, app: str, first: int, last: int) -> None:
    sql(node, app, f"insert into items select n, md5(n::text) from generate_series({first}, {last}) n")


def path_of(node: Daemon, volume: str) -> Path:
    return Path(json.loads(node.cli("volume", "inspect", volume).out)[0]["status"]["path"])


def deaths(node: Daemon, app: str) -> None:
    """The database's own process is killed, then the daemon, then everything; each time it comes back by itself."""
    pid = node.replica(app).status.pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: node.replica(app).status.pid not in (0, pid), "the database again")
    node.ready(app, 1)
    node.kill()
    node.start()
    node.ready(app, 1)
    node.reboot()
    node.ready(app, 1)


def test_postgres_keeps_every_row_through_deaths_snapshots_copies_and_backups(
    node: Daemon, hatch: Hatch, tmp_path: Path
) -> None:
    node.cli("volume", "create", "pg", "--size", "512MiB")
    node.cli("app", "deploy", *DATABASE, "--name", "db", "-v", f"pg:{PGDATA}")
    sql(node, "db", "create table items (n int primary key, body text)")
    fill(node, "db", 1, 500)
    before = rows(node, "db")
    assert len(before) == 500

    deaths(node, "db")
    assert rows(node, "db") == before

    # While it is written to: what was committed before is in it, and nothing but a beginning of the rest.
    writer = node.begin(
        "exec", "db", "sh", "-c",
        "n=501; while psql -h 127.0.0.1 -U postgres -qc \"insert into items values ($n, md5('$n'))\"; do"
        " echo $n; n=$((n+1)); done",
    )  # fmt: skip
    assert writer.stdout and writer.stdout.readline().strip() == b"501"
    said = node.cli("volume", "snapshot", "pg", "busy", "-o", "json").out
    assert json.loads(said)["status"]["consistency"] == "crash"
    writer.kill()
    writer.communicate()
    fill(node, "db", 100_001, 100_100)

    refused = node.cli("volume", "restore", "pg", "--snapshot", "busy", "-f", code=5).err
    assert "db.0" in refused and "hivemind app stop db" in refused
    assert "used by db" in node.cli("volume", "rm", "pg", code=5).err

    node.cli("volume", "clone", "pg", "pg-copy")
    node.cli("app", "deploy", *DATABASE, "--name", "copy", "-v", f"pg-copy:{PGDATA}")
    assert rows(node, "copy") == rows(node, "db")
    node.cli("app", "rm", "copy")

    node.cli("app", "stop", "db")
    node.cli("volume", "restore", "pg", "--snapshot", "busy", "-f")
    node.cli("app", "start", "db")
    node.ready("db", 1)
    found = rows(node, "db")
    assert found[:500] == before
    assert [row.partition(":")[0] for row in found] == [str(n + 1) for n in range(len(found))]
    assert 501 <= len(found) < 100_000

    (tmp_path / "password").write_text("correct horse")
    for hive in (node, other := hatch()):
        if hive is other:
            hive.start()
            hive.load("postgres")
        hive.cli("secret", "create", "backup", "--from-file", f"password={tmp_path / 'password'}")
        hive.cli("backup-target", "create", "nas", "--location", str(tmp_path / "nas"), "--secret", "backup")
    told = node.cli("volume", "backup", "pg", "--target", "nas", "--verify").out
    assert "restored and found equal" in told
    assert b"correct horse" not in b"".join(
        p.read_bytes() for p in (tmp_path / "nas").rglob("*") if p.is_file()
    )
    [backup] = json.loads(other.cli("volume", "backups", "-o", "json").out)["items"]
    assert (backup["volume"], backup["consistency"]) == ("pg", "crash")
    other.cli("volume", "restore", "pg", "--backup", "latest", "--to", "elsewhere")
    other.cli("app", "deploy", *DATABASE, "--name", "db", "-v", f"elsewhere:{PGDATA}")
    assert rows(other, "db") == found
    other.destroy()


def test_redis_keeps_its_keys_through_deaths_updates_and_scaling(node: Daemon) -> None:
    redis = ("--image", "redis:1", "--update-min-healthy", "0s", "--health-cmd", "redis-cli ping")
    keep = ("--", "/usr/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--appendonly", "yes",
            "--appendfsync", "always")  # fmt: skip
    node.cli("app", "deploy", *redis, "--name", "kv", "--replicas", "2", "-v", "kv:/data:per-replica", *keep)
    for slot in (0, 1):
        node.cli("exec", f"kv.{slot}", "redis-cli", "mset", "slot", str(slot), "many", "x" * 1000)

    def each() -> list[str]:
        return [node.cli("exec", f"kv.{slot}", "redis-cli", "get", "slot").out.strip() for slot in (0, 1)]

    pids = [replica.status.pid for replica in node.replicas("kv")]
    node.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    node.start()
    eventually(lambda: not {r.status.pid for r in node.replicas("kv")} & {0, *pids}, "both again")
    node.ready("kv", 2)
    assert each() == ["0", "1"]
    node.cli("app", "restart", "kv")
    assert each() == ["0", "1"]
    node.cli("app", "scale", "kv", "--replicas", "0")
    node.cli("volume", "prune", "-f")
    assert {"kv-0", "kv-1"} <= set(node.cli("volume", "ls", "-q").out.split()), "they wait for their replicas"
    node.cli("app", "scale", "kv", "--replicas", "2")
    assert each() == ["0", "1"]
    node.cli("app", "rm", "kv")
    node.cli("volume", "rm", "kv-0", "kv-1")


def test_a_limit_holds_grows_and_shrinks_and_leaves_no_device(node: Daemon) -> None:
    node.cli("volume", "create", "small", "--size", "32MiB")
    node.cli("app", "deploy", *IDLE, "--name", "a", "-v", "small:/data", "--", "sleep", "1000")
    assert (
        "No space left"
        in node.cli("exec", "a", "dd", "if=/dev/zero", "of=/data/x", "bs=1M", "count=60", code=1).err
    )
    assert node.cli("exec", "a", "rm", "/data/x").err == ""
    node.cli("exec", "a", "sh", "-c", "echo kept > /data/kept")
    assert "is used by a.0" in node.cli("volume", "resize", "small", "--size", "16MiB", code=5).err
    node.cli("app", "stop", "a")
    node.cli("volume", "resize", "small", "--size", "96MiB")
    node.cli("app", "start", "a")
    node.ready("a", 1)
    node.cli("exec", "a", "dd", "if=/dev/zero", "of=/data/x", "bs=1M", "count=60")
    node.cli("app", "stop", "a")
    said = node.cli("volume", "resize", "small", "--size", "32MiB", code=1).err
    assert "does not fit into 32MiB" in said
    assert (path_of(node, "small") / "x").stat().st_size == 60 << 20, "nothing happened to it"
    node.cli("volume", "resize", "small", "--size", "96MiB")
    assert (path_of(node, "small") / "kept").read_text() == "kept\n"
    node.cli("app", "rm", "a")
    node.cli("volume", "rm", "small")
    eventually(lambda: not [line for line in disks(node) if "deleted" in line], "the device free")


def test_links_inside_a_volume_lead_nowhere_outside(node: Daemon, tmp_path: Path) -> None:
    """A container puts links where another one's sub-path is."""
    evil = "cd /v; ln -s / root; ln -s /etc etc; ln -s ../../../../.. up; mkdir real; ln -s real inside"
    evil += "; echo in > real/f"
    node.cli(
        "app", "deploy", *IDLE, "--name", "evil", "-v", "shared:/v", "--", "sh", "-c", f"{evil}; sleep 1000"
    )
    eventually(lambda: (path_of(node, "shared") / "real/f").exists(), "the links")
    for subpath in ("root", "etc", "up", "root/etc", "up/etc"):
        mount = f"type=volume,source=shared,target=/m,subpath={subpath}"
        said = node.cli(
            "app", "deploy", *IDLE, "--name", "victim", "--mount", mount, "--", "sleep", "9", code=1
        )
        assert "no directory inside the volume" in said.out + said.err, subpath
        node.cli("app", "rm", "victim")
    mount = "type=volume,source=shared,target=/m,subpath=inside,readonly"
    node.cli("app", "deploy", *IDLE, "--name", "guest", "--mount", mount, "--", "sleep", "1000")
    assert node.cli("exec", "guest", "cat", "/m/f").out == "in\n"
    assert "Read-only" in node.cli("exec", "guest", "touch", "/m/f", code=1).err
    # Swapped under a container that runs: it keeps what was mounted.
    node.cli("exec", "evil", "sh", "-c", "cd /v; rm inside; ln -s /etc inside; mv real gone; ln -s /etc real")
    node.kill()
    node.start()
    assert node.cli("exec", "guest", "cat", "/m/f").out == "in\n"

    bad = io.BytesIO()
    with tarfile.open(fileobj=bad, mode="w") as archive:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("way/out"))
    (tmp_path / "bad.tar").write_bytes(bad.getvalue())
    node.cli("volume", "import", "hostile", str(tmp_path / "bad.tar"), code=2)
    assert not (tmp_path / "out").exists()
    assert not list(path_of(node, "hostile").iterdir()), "all of it or nothing"
    node.cli("volume", "rm", "hostile")


def test_a_new_volume_suits_the_user_and_takes_what_the_image_has(node: Daemon) -> None:
    node.cli("app", "deploy", *IDLE, "--name", "a", "-u", "1234:5678", "-v", "mine:/new", "-v", "etc:/etc", "--",
             "sh", "-c", "echo x > /new/x && sleep 1000")  # fmt: skip
    node.ready("a", 1)
    found = path_of(node, "mine").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 5678, 0o755)
    assert "nobody" in (path_of(node, "etc") / "passwd").read_text()
    node.cli("volume", "export", "mine", "-o", str(node.home / "mine.tar"))
    node.cli("volume", "import", "again", str(node.home / "mine.tar"))
    assert path_of(node, "again").stat().st_uid == 1234
    assert (path_of(node, "again") / "x").read_text() == "x\n"
    assert "holds something" in node.cli("volume", "import", "again", str(node.home / "mine.tar"), code=5).err
