"""Looking into real containers through a real daemon: terminals, files, ports, logs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually
from tests.e2e.leftovers import COMMAND, environment, inside
from tests.e2e.typist import Typist

pytestmark = pytest.mark.real
IMAGE = "busybox:1"
WAITING = "echo up; trap 'exit 9' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def web(node: Daemon) -> Daemon:
    node.cli("run", "-d", "--name", "web", "-p", "18080:80", IMAGE, "sh", "-c", WAITING)
    return node


def test_run_with_a_terminal(node: Daemon) -> None:
    with Typist(node, "run", "--rm", "-it", "--name", "shell", IMAGE, "sh", columns=91, rows=31) as person:
        person.expect("/ # ")
        person.type("stty size; echo do''ne\n")
        person.expect("31 91")
        person.expect("done")
        person.resize(70, 20)
        person.type("echo rea''ding; read it\n")
        person.expect("reading")  # said by the command: from here on the terminal makes signals of keys
        person.type("\x03")
        person.expect("/ # ")
        person.type("stty size\n")
        person.expect("20 70")
        person.type("exit 5\n")
        assert person.ended() == 5
    assert node.client.apps.list("default") == []


def test_leaving_a_terminal_and_coming_back(node: Daemon) -> None:
    with Typist(node, "run", "-it", "--name", "shell", "--stop-signal", "KILL", IMAGE, "sh") as person:
        person.expect("/ # ")
        person.type("MINE=kept\n\x10")
        person.type("\x11")
        person.expect("it goes on")
        assert person.ended() == 0
    with Typist(node, "attach", "shell") as person:
        person.type("echo still $MINE\n")
        person.expect("still kept")
        person.type("exit 3\n")
        assert person.ended() == 3
    said = node.cli("logs", "shell.0").out
    assert "still kept" in said and "\r" not in said


def test_input_from_a_pipe_and_its_end(node: Daemon) -> None:
    text = "".join(f"{number}\n" for number in range(20_000))
    assert node.cli("run", "--rm", "-i", IMAGE, "cat", stdin=text).out == text
    assert node.cli(
        "run", "--rm", "-i", IMAGE, "sh", "-c", "read a; echo $a >&2; exit 4", stdin="x\n", code=4
    ).err


def test_attaching_survives_the_daemon(fresh: Daemon) -> None:
    fresh.cli("run", "-dit", "--name", "shell", "--stop-signal", "KILL", IMAGE, "sh")
    fresh.kill()
    fresh.start()
    with Typist(fresh, "attach", "shell") as person:
        person.type("echo al''ive\n")
        person.expect("alive")
        person.type("exit\n")
        assert person.ended() == 0


def test_files_by_dockers_rules(web: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "one").write_text("1")
    (source / "sub" / "two").write_bytes(os.urandom(2_000_000))
    (source / "link").symlink_to("one")
    names = {"link", "one", "sub", "sub/two"}

    def listed(path: str) -> set[str]:
        out = web.cli("exec", "web", "sh", "-c", f"cd {path} && find . -mindepth 1").out
        return {line.removeprefix("./") for line in out.split()}

    web.cli("cp", str(source), "web:/new")
    assert listed("/new") == names
    web.cli("cp", str(source), "web:/new")
    assert {f"source/{name}" for name in names} < listed("/new")
    web.cli("cp", f"{source}/.", "web:/tmp")
    assert listed("/tmp") == names
    web.cli("cp", f"{source}/one", "web:/etc/renamed")
    assert web.cli("exec", "web", "stat", "-c", "%u %s", "/etc/renamed").out == "0 1\n"
    web.cli("cp", f"{source}/one", "web:/none/", code=2)
    web.cli("cp", str(source), "web:/etc/hosts", code=2)
    web.cli("cp", "web:/nothing", str(tmp_path), code=4)

    back = tmp_path / "back"
    web.cli("cp", "web:/new/source", str(back))
    assert (back / "sub" / "two").read_bytes() == (source / "sub" / "two").read_bytes()
    assert os.readlink(back / "link") == "one"
    back.joinpath("sub").rename(tmp_path / "moved")
    web.cli("cp", "web:/tmp/.", str(back))
    assert (back / "sub" / "two").exists()
    web.cli("cp", "web:/etc/renamed", f"{tmp_path}/file")
    web.cli("cp", "web:/etc/hosts", f"{tmp_path}/file")
    assert "localhost" in (tmp_path / "file").read_text()


def test_a_container_cannot_turn_a_copy_against_the_machine(web: Daemon, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    web.cli(
        "exec",
        "web",
        "sh",
        "-c",
        f"ln -s {secret} /tmp/out; ln -s {tmp_path} /tmp/dir; ln -s /etc/passwd /tmp/own",
    )
    (tmp_path / "into").mkdir()
    web.cli("cp", "-L", "web:/tmp/out", f"{tmp_path}/into/copy", code=4)
    web.cli("cp", "web:/tmp/dir/secret", f"{tmp_path}/into/copy", code=4)
    assert not (tmp_path / "into" / "copy").exists()
    web.cli("cp", "-L", "web:/tmp/own", f"{tmp_path}/into/own")
    assert (tmp_path / "into" / "own").read_text() == web.cli("exec", "web", "cat", "/etc/passwd").out
    web.cli("cp", str(secret), "web:/tmp/dir/evil", code=4)
    assert not (tmp_path / "evil").exists()
    # Out: a link that an earlier copy brought is not written through by a later one.
    web.cli("exec", "web", "sh", "-c", f"mkdir /trap; ln -s {tmp_path} /trap/x")
    web.cli("cp", "web:/trap/.", f"{tmp_path}/into")
    web.cli("exec", "web", "sh", "-c", "rm /trap/x; mkdir /trap/x; echo evil > /trap/x/secret")
    web.cli("cp", "web:/trap/.", f"{tmp_path}/into", code=2)
    assert secret.read_text() == "of the host"


def test_archives_both_ways(web: Daemon) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        info = tarfile.TarInfo("inner/file")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    command = [*inside(web.home), *COMMAND, "cp"]
    told = {**environment(), "HIVEMIND_HOST": f"unix://{web.socket}"}
    subprocess.run(
        [*command, "-", "web:/tmp"], input=made.getvalue(), env=told, cwd="/", check=True, timeout=60
    )
    out = subprocess.run(
        [*command, "web:/tmp/inner", "-"], capture_output=True, env=told, cwd="/", check=True, timeout=60
    )
    with tarfile.open(fileobj=io.BytesIO(out.stdout)) as archive:
        assert archive.getnames() == ["inner", "inner/file"]


def test_what_it_changed_and_what_it_runs(web: Daemon) -> None:
    web.cli("exec", "web", "sh", "-c", "echo x > /etc/new; rm /etc/passwd; mkdir /made")
    assert web.cli("diff", "web.0").out.splitlines() == ["C /etc", "A /etc/new", "D /etc/passwd", "A /made"]
    processes = web.cli("top", "web.0", "-o", "user,cmd").out
    assert "trap" in processes
    (entry,) = json.loads(web.cli("inspect", "web.0").out)
    assert entry["name"] == "web.0"
    web.cli("inspect", "web", "nothing-like-it", code=4)
    assert web.cli("port", "web").out == "80/tcp -> 0.0.0.0:18080\n"
    (used,) = json.loads(web.cli("stats", "--no-stream", "-o", "json").out)["items"]
    assert used["memory"] > 0 and used["pids"] >= 1
    assert "web" in web.cli("top").out


def test_waiting(web: Daemon) -> None:
    assert web.cli("wait", "web", "--for=ready").out == "app/web condition met\n"
    web.cli("wait", "app/web", "--for=jsonpath='{.status.phase}'=running")
    web.cli("wait", "web", "--for=stopped", "--timeout", "1s", code=8)
    waiting = subprocess.Popen(
        [*inside(web.home), *COMMAND, "wait", "web"], stdout=subprocess.PIPE, text=True, cwd="/",
        env={**environment(), "HIVEMIND_HOST": f"unix://{web.socket}"},
    )  # fmt: skip
    web.cli("stop", "web")
    assert waiting.communicate(timeout=60)[0] == "9\n"
    web.cli("wait", "web", "--for=stopped")
    web.cli("rm", "web")
    web.cli("wait", "web", "--for=deleted")


def test_logs_of_the_instance_before_and_by_pattern(node: Daemon) -> None:
    script = "echo start $$; for i in 1 2 3; do echo line $i; done; sleep 0.3; exit 1"
    node.cli(
        "run",
        "-d",
        "--name",
        "again",
        "--stop-signal",
        "KILL",
        "--restart",
        "always",
        IMAGE,
        "sh",
        "-c",
        script,
    )
    eventually(lambda: "start" in node.cli("logs", "--previous", "again").out, "an earlier instance")
    said = node.cli("logs", "--previous", "--grep", "line [23]", "again.0").out.splitlines()
    assert said == ["line 2", "line 3"]
    assert node.cli("logs", "--grep", "^line 3$", "--tail", "1", "again.0").out == "line 3\n"
    node.cli("logs", "--grep", "(", "again", code=2)


def test_a_port_is_forwarded_both_ways_and_half_closed(node: Daemon) -> None:
    script = "while :; do nc -l -p 7 -e sh -c 'wc -c'; done"
    node.cli("run", "-d", "--name", "count", "--stop-signal", "KILL", IMAGE, "sh", "-c", script)
    forwarding = subprocess.Popen(
        [*inside(node.home), *COMMAND, "port-forward", "count", ":7"], stdout=subprocess.PIPE, text=True, cwd="/",
        env={**environment(), "HIVEMIND_HOST": f"unix://{node.socket}"},
    )  # fmt: skip
    try:
        assert forwarding.stdout is not None
        port = int(forwarding.stdout.readline().split(" -> ")[0].rpartition(":")[2])
        talk = (
            "import socket, sys\n"
            "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
            "s.sendall(b'x' * 3_000_000); s.shutdown(socket.SHUT_WR)\n"
            "print(s.makefile().read().strip())\n"
        )
        for _ in range(2):
            done = subprocess.run(
                [*inside(node.home), COMMAND[0], "-c", talk, str(port)],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.stdout == "3000000\n", done.stderr
    finally:
        forwarding.terminate()
        forwarding.wait(20)
