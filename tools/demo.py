"""`./run demo`: a node, a real web app, scaling, healing, a job. `--down` removes every trace.

Everything it does it does with the same commands that a person would type, and shows them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parent.parent
HIVEMIND = [sys.executable, "-m", "hivemind"]
JOB = """\
name: visit
tasks:
  list:
    run: echo 'places=["north", "east", "south"]' >> "$HIVEMIND_OUTPUT"
    outputs: {places: list}
  visit:
    needs: [list]
    for_each: "${{ needs.list.outputs.places }}"
    env: {PLACE: "${{ item }}"}
    run: GREETING
  report:
    needs: [visit]
    run: echo all were visited
"""


def say(text: str = "") -> None:
    print(text, flush=True)


def title(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    say(f"\n{bold}{text}{plain}")


class Demo:
    def __init__(self, data: Path, run: Path) -> None:
        self.data = data
        self.run = run
        self.socket = run / "hivemind.sock"
        self.pid_file = data / "demo.pid"
        self.env = {**os.environ, "HIVEMIND_HOST": f"unix://{self.socket}", "PYTHONPATH": str(CLONE / "src")}

    # -- pieces ----------------------------------------------------------------------------------------------

    def hivemind(
        self, *arguments: str, show: bool = True, **options: object
    ) -> subprocess.CompletedProcess[str]:
        if show:
            say(f"$ hivemind {shlex.join(arguments)}")
        return subprocess.run([*HIVEMIND, *arguments], env=self.env, text=True, check=True, **options)  # type: ignore[call-overload, no-any-return]

    def ask(self, *arguments: str) -> object:
        answer = self.hivemind(*arguments, "-o", "json", show=False, stdout=subprocess.PIPE)
        return json.loads(answer.stdout)

    def pid(self) -> int | None:
        """Of the demo's daemon, if it runs. The lock on its data tells, not a number in a file."""
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self.data).encode() in command else None

    # -- up --------------------------------------------------------------------------------------------------

    def up(self) -> None:
        self.start_node()
        status = self.ask("status")
        assert isinstance(status, dict)
        containers = status["runtime"] != "process"
        if not containers:
            say("no containers are possible here, so the demo runs plain processes instead:")
            for problem in status["problems"]:
                say(f"  {problem}")
        port = self.port_in_use() or free_port(8080)
        self.deploy(containers, port)
        title("Three of them")
        self.hivemind("app", "scale", "--name", "web-app", "--replicas", "3")
        title("Through the published port (balanced over the three)")
        self.fetch_by_port(port)
        title("Through the name")
        self.fetch_by_name(status["dns"], containers)
        title("One is killed, and comes back")
        self.kill_one(containers)
        self.work(containers)
        self.farewell(port)

    def port_in_use(self) -> int:
        """Where the web app of an earlier demo is published; 0 before the first."""
        found = self.ask("get", "apps")
        apps = found["items"] if isinstance(found, dict) else found
        ports = [p["host"] for app in apps if app["name"] == "web-app" for p in app["spec"].get("ports", [])]  # type: ignore[union-attr]
        return int(ports[0]) if ports else 0

    def start_node(self) -> None:
        title("A node")
        if self.pid():
            say("it runs already")
            return
        self.data.mkdir(parents=True, exist_ok=True)
        arguments = [
            "daemon", "--data-dir", str(self.data), "--run-dir", str(self.run),
            "--node-name", "demo", "--publish-host", "127.0.0.1",
            "--web-port", str(free_port(3000)), "--dns-port", str(free_port(8653)),
        ]  # fmt: skip
        say(f"$ hivemind {shlex.join(arguments)} &")
        log = (self.data / "daemon.log").open("ab")
        daemon = subprocess.Popen(
            [*HIVEMIND, *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.pid_file.write_text(str(daemon.pid))
        deadline = time.monotonic() + 30
        while not ready(self.socket):
            if daemon.poll() is not None or time.monotonic() > deadline:
                say((self.data / "daemon.log").read_text()[-3000:])
                raise SystemExit("error: the node did not start; its log is above")
            time.sleep(0.05)
        self.hivemind("status")

    def deploy(self, containers: bool, port: int) -> None:
        title("A real web app")
        common = ["--name", "web-app", "--service", "web.local"]
        common += ["--port", f"{port}:8080", "--health-http", "8080/"]
        if containers:
            archive = CLONE / ".cache" / "demo" / "web.tar"
            say(f"$ python tools/debimage.py web --output {archive.relative_to(CLONE)}")
            subprocess.run(
                [sys.executable, str(CLONE / "tools/debimage.py"), "web", "--output", str(archive)],
                check=True,
            )
            self.hivemind("load", "-i", str(archive))
            self.hivemind("app", "deploy", "--image", "web:1", *common)
            return
        self.hivemind("project", "allow", "default", "processes")
        command = ["--entrypoint", sys.executable, "--command", str(CLONE / "tools/hello.py")]
        self.hivemind("app", "deploy", "--runtime", "process", *common, *command)

    def fetch_by_port(self, port: int) -> None:
        for _ in range(4):
            say(f"$ curl http://127.0.0.1:{port}/")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                say(answer.read().decode().strip())

    def fetch_by_name(self, dns: str, containers: bool) -> None:
        addresses = resolve(dns, "web.local")
        say(f"web.local is {', '.join(addresses)} (asked of {dns})")
        if containers:
            with urllib.request.urlopen(f"http://{addresses[0]}:8080/", timeout=5) as answer:
                say(answer.read().decode().strip())
            say("and from inside another container:")
            self.hivemind("exec", "web-app", "wget", "-q", "-O", "-", "http://web.local:8080/")

    def kill_one(self, containers: bool) -> None:
        self.hivemind("ps")
        victim = self.replicas()[0]
        pid = victim["status"]["pid"]
        say(f"$ kill -9 {pid}")
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while True:
            now: Any = self.ask("get", "allocation", victim["id"])
            if now["status"]["restarts"] > victim["status"]["restarts"] and now["status"]["ready"]:
                break
            if time.monotonic() > deadline:
                raise SystemExit("error: it did not come back")
            time.sleep(0.05)
        self.hivemind("ps")
        self.hivemind("events", "--no-follow", "--filter", f"allocation={victim['id']}")

    def work(self, containers: bool) -> None:
        title("A job: a graph of tasks, one of them once for each of what another found")
        text = JOB.replace("GREETING", 'echo "$PLACE says hello"')
        if containers:  # ask the web app, by its name
            text = JOB.replace("GREETING", 'echo "$PLACE, $(wget -q -O - http://web.local:8080/)"')
            text = text.replace("    run: ", "    image: web:1\n    run: ")
        job = self.data / "visit.yaml"
        job.write_text(text)
        say(f"$ cat {job}\n{text.rstrip()}")
        self.hivemind("job", "graph", str(job))
        self.hivemind("job", "run", str(job))
        self.hivemind("job", "logs", "visit")

    def replicas(self) -> list[dict[str, Any]]:
        found = self.ask("get", "allocations")
        items = found["items"] if isinstance(found, dict) else found
        return [a for a in items if a["app"] == "web-app" and a["status"]["phase"] == "running"]  # type: ignore[union-attr]

    def farewell(self, port: int) -> None:
        title("It keeps running. Try next:")
        for line in (
            "./run hivemind ps",
            "./run hivemind app logs -f web-app",
            "./run hivemind exec -it web-app sh",
            "./run hivemind app deploy --name web-app --env VERSION=2   # a new revision, one replica at a time",
            "./run hivemind describe app web-app",
            "./run hivemind job gantt visit",
            f"curl http://127.0.0.1:{port}/",
            "./run demo --down                        # removes every trace",
        ):
            say(f"  {line}")

    # -- down ------------------------------------------------------------------------------------------------

    def down(self) -> None:
        pid = self.pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 20
            while self.pid() and time.monotonic() < deadline:
                time.sleep(0.05)
        if self.data.exists() or self.run.exists():
            self.hivemind(
                "daemon", "--destroy", "--data-dir", str(self.data), "--run-dir", str(self.run), show=False
            )
        shutil.rmtree(CLONE / ".cache" / "demo", ignore_errors=True)
        say("the demo is gone")


def free_port(wanted: int) -> int:
    for port in range(wanted, wanted + 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit(f"error: no port from {wanted} on is free")


def ready(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
            probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return probe.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


def resolve(server: str, name: str) -> list[str]:
    """A records, asked over UDP without help of the machine's resolver."""
    host, _, port = server.rpartition(":")
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        channel.sendto(b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0" + labels + b"\0\0\1\0\1", (host, int(port)))
        answer = channel.recv(4096)
    count = int.from_bytes(answer[6:8], "big")
    records = answer[12 + len(labels) + 5 :]
    found = []
    for _ in range(count):
        offset = 2 if records[0] & 0xC0 else records.index(0) + 1
        length = int.from_bytes(records[offset + 8 : offset + 10], "big")
        if records[offset : offset + 2] == b"\0\1":
            found.append(socket.inet_ntoa(records[offset + 10 : offset + 14]))
        records = records[offset + 10 + length :]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    parser.add_argument("--down", action="store_true", help="stop the demo and remove every trace")
    parser.add_argument("--data-dir", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--run-dir", type=Path, required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    demo = Demo(arguments.data_dir, arguments.run_dir)
    try:
        demo.down() if arguments.down else demo.up()
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None


if __name__ == "__main__":
    main()
