"""Attempts of tasks for real: plain commands and containers, what they leave, how they end, daemons that die."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind.model.allocation import AllocationDocument
from hivemind.model.run import RunDocument, TaskRunDocument
from tests.e2e.daemon import Daemon, alive
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

KINDS = """
name: kinds
inputs:
  token: {type: string, secret: true, required: true}
tasks:
  plain:
    run: |
      echo "$GREETING from $HIVEMIND_TASK"
      echo "where=$PWD" >> "$HIVEMIND_OUTPUT"
      mkdir -p out/deep && echo data > out/deep/x.txt
    env: {GREETING: hello}
    outputs: {where: {}, data: {file: out/deep/x.txt}}
    artifacts: [{path: "out/**/*.txt", name: texts}]
  user:
    user: nobody
    run: |
      echo who=$(id -un) >> "$HIVEMIND_OUTPUT"
      echo mine > "$HOME/file" && test "$PWD" = "$HOME"
      for place in "$HIVEMIND_OUTPUT/../.." DATA DATA/ledger DATA/process DATA/oci; do
        ls "$place" && exit 9
      done
      cat DATA/hive.key && exit 9
      exit 0
  box:
    image: busybox:1
    command: [sh, -c, "echo in a box; echo n=3 >> $HIVEMIND_OUTPUT; echo v1 > /version; mkdir /o; echo 1 > /o/a"]
    outputs: {n: {type: integer}, version: {file: /version}}
    artifacts: [{path: /o}]
  secret: {run: 'test "$T" = s3cret', env: {T: "${{ inputs.token }}"}}
  after:
    needs: [plain, box]
    run: 'test "$N$V$D" = 3v1data'
    env:
      N: "${{ needs.box.outputs.n }}"
      V: "${{ needs.box.outputs.version }}"
      D: "${{ needs.plain.outputs.data }}"
"""

ENDINGS = """
name: endings
tasks:
  code: {run: exit 3}
  steps:
    steps:
      - {id: build, run: 'true'}
      - {id: test, run: exit 4}
  killed: {run: kill -9 $$}
  hungry: {run: tail /dev/zero, resources: {memory: 32MiB}}
  late: {run: "sleep 1000 & sleep 1000", timeout: 1}
  nobody: {run: 'true', user: nobody-like-this}
  missing: {command: [/no/such/program]}
  image: {image: "localhost:1/no/such:1", pull: never, command: ['true']}
  artifact: {run: 'true', artifacts: [{path: report.html}]}
  output: {run: 'echo nonsense >> "$HIVEMIND_OUTPUT"'}
  link: {run: 'ln -s /etc/passwd "$HIVEMIND_OUTPUT.x" && mv "$HIVEMIND_OUTPUT.x" "$HIVEMIND_OUTPUT"'}
"""

LONG = """
name: long
tasks:
  plain: {run: "echo $$; sleep 1000 & sleep 1000; true"}
  box: {image: "busybox:1", command: [sh, -c, "echo ready; trap 'exit 7' TERM; while :; do sleep 0.1; done"]}
"""


@pytest.fixture
def worker(node: Daemon) -> Iterator[Daemon]:
    """The shared daemon, which may run plain commands. Its jobs are removed."""
    node.cli("project", "allow", "default", "processes")
    for place in (node.home, node.home.parent):
        place.chmod(0o711)  # as /var/lib is: users get through to what is theirs
    yield node
    for job in node.client.jobs.list(None):
        node.client.jobs.delete(job.name, job.project)
    eventually(lambda: not node.client.allocations.list(None), "no attempt left")
    node.traces.must_be_clean()


def put(daemon: Daemon, text: str) -> None:
    place = daemon.home / "job.yaml"
    place.write_text(text.replace("DATA", str(daemon.data)))
    daemon.cli("job", "put", str(place))


def ended(daemon: Daemon, run: str, seconds: float = 90.0) -> RunDocument:
    def look() -> RunDocument:
        found = daemon.client.runs.get(run)
        assert found.ended, [(t.path, t.state, t.reason) for t in daemon.client.runs.tasks(run)]
        return found

    return eventually(look, f"{run} ended", seconds)


def tasks(daemon: Daemon, run: str) -> dict[str, TaskRunDocument]:
    return {task.path: task for task in daemon.client.runs.tasks(run)}


def shown(daemon: Daemon, count: int) -> list[AllocationDocument]:
    """What runs, as everybody sees it after a while."""
    found = daemon.client.allocations.list(None)
    assert [a.status.phase for a in found] == ["running"] * count, [a.status for a in found]
    return found


def names(tar: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return sorted(info.name for info in archive if info.isfile())


def test_commands_and_containers_leave_outputs_logs_and_artifacts(worker: Daemon) -> None:
    put(worker, KINDS)
    run = worker.client.jobs.run("kinds", inputs={"token": "s3cret"}).name
    found = tasks(worker, run) if ended(worker, run).state else {}
    assert {path: (task.state, task.reason) for path, task in found.items()} == dict.fromkeys(
        ("plain", "user", "box", "secret", "after"), ("succeeded", "")
    )
    assert found["user"].outputs == {"who": "nobody"}
    assert found["box"].outputs == {"n": 3, "version": "v1"}
    logs = {(line.text) for line in worker.client.runs.logs(run)}
    assert {"hello from plain", "in a box"} <= logs
    kept = {(a.path, a.name, a.files) for a in worker.client.runs.artifacts(run)}
    assert kept == {("plain", "texts", 1), ("box", "o", 1)}
    assert names(b"".join(worker.client.runs.read_artifact(run, "plain", "texts"))) == ["texts/deep/x.txt"]
    assert names(b"".join(worker.client.runs.read_artifact(run, "box", "o"))) == ["o/a"]
    files = worker.data / "attempts" / "kept"
    assert "s3cret" not in "".join(path.read_text() for path in files.rglob("*.log"))
    worker.client.jobs.delete("kinds")
    eventually(lambda: not list(files.iterdir()) or worker.client.runs.of("kinds"), "forgotten or kept")


def test_every_ending_is_told_for_what_it_was(worker: Daemon) -> None:
    put(worker, ENDINGS)
    run = worker.client.jobs.run("endings").name
    ended(worker, run)
    found = tasks(worker, run)
    causes = {path: (task.attempts[-1].cause, task.exit_code) for path, task in found.items()}
    assert causes == {
        "code": ("exit", 3), "steps": ("exit", 4), "killed": ("signal", 137), "hungry": ("oom", 137),
        "late": ("timeout", 143), "nobody": ("start", None), "missing": ("start", None),
        "image": ("start", None), "artifact": ("exit", None), "output": ("exit", None), "link": ("exit", None),
    }  # fmt: skip
    reasons = {path: task.reason for path, task in found.items()}
    assert "step 'test': exit code 4" in reasons["steps"]
    assert "out of memory (limit 32MiB)" in reasons["hungry"]
    assert "it took longer than 1s" in reasons["late"]
    assert "/no/such/program" in reasons["missing"]
    assert "there is no artifact report.html" in reasons["artifact"]
    assert "line 1 of the outputs" in reasons["output"]
    assert "cannot be read" in reasons["link"]
    assert found["late"].state == "timed out"


def test_a_canceled_run_leaves_no_process(worker: Daemon) -> None:
    put(worker, LONG)
    run = worker.client.jobs.run("long").name
    lines = worker.client.runs.logs_follow(run, task="plain")
    shell = int(next(lines).text)
    children = Path(f"/proc/{shell}/task/{shell}/children")
    pids = eventually(lambda: [int(pid) for pid in children.read_text().split()], "children")
    eventually(lambda: any(line.text == "ready" for line in worker.client.runs.logs(run)), "the box ready")
    worker.client.runs.cancel(run)
    assert ended(worker, run).state == "canceled"
    found = tasks(worker, run)
    assert [(t.state, t.exit_code) for t in (found["plain"], found["box"])] == [
        ("canceled", 143),
        ("canceled", 7),
    ]
    eventually(lambda: not any(alive(pid) for pid in (shell, *pids)), "the whole tree dead")


def test_a_daemon_that_is_killed_loses_no_outcome_and_begins_nothing_twice(fresh: Daemon) -> None:
    fresh.cli("project", "allow", "default", "processes", "bind")
    begun = fresh.home / "begun"
    put(
        fresh,
        f"""
name: hardy
tasks:
  while-dead: {{run: "echo x >> {begun}; while [ ! -e {begun}.end ]; do sleep 0.1; done; exit 5"}}
  outlives: {{run: "echo x >> {begun}; while [ ! -e {begun}.go ]; do sleep 0.1; done; echo done=1 >> $HIVEMIND_OUTPUT"}}
  box: {{image: "busybox:1", command: [sh, -c, "while [ ! -e /w/begun.end ]; do sleep 0.1; done; echo box; exit 6"],
    mounts: [{{kind: bind, source: {fresh.home}, target: /w}}]}}
""",
    )
    run = fresh.client.jobs.run("hardy").name
    eventually(lambda: begun.exists() and begun.read_text() == "x\nx\n", "both begun")
    pids = eventually(lambda: [a.status.pid for a in shown(fresh, 3)], "all three shown")
    fresh.kill()
    Path(f"{begun}.end").touch()
    eventually(lambda: sum(map(alive, pids)) == 1, "two ended while nobody looked")
    fresh.start()
    assert not fresh.client.runs.get(run).ended
    Path(f"{begun}.go").touch()
    assert ended(fresh, run).state == "failed"
    found = tasks(fresh, run)
    assert {path: (t.state, t.exit_code, len(t.attempts)) for path, t in found.items()} == {
        "while-dead": ("failed", 5, 1), "outlives": ("succeeded", 0, 1), "box": ("failed", 6, 1),
    }  # fmt: skip
    assert found["outlives"].outputs == {"done": "1"}
    assert begun.read_text() == "x\nx\n"
    assert [line.text for line in fresh.client.runs.logs(run, task="box")] == ["box"]
    fresh.traces.must_be_clean()


GIVEN = """
name: given
tasks:
  secret:
    run: test "$PW" = first && cat "$HIVEMIND_FILES/etc/site/motd"
    env: {PW: {secret: db, key: password}}
    mounts: [{kind: config, source: site, target: /etc/site}]
  box:
    image: busybox:1
    command: [sh, -c, 'test "$PW" = first && cat /etc/site/motd && cat /run/db/password && echo kept > /data/file']
    env: {PW: {secret: db, key: password}}
    mounts:
      - {kind: config, source: site, target: /etc/site}
      - {kind: secret, source: db, target: /run/db}
      - {kind: volume, source: results, target: /data}
  again:
    needs: [box]
    image: busybox:1
    command: [cat, /data/file]
    mounts: [{kind: volume, source: results, target: /data}]
"""


def test_tasks_get_secrets_configs_and_volumes(worker: Daemon) -> None:
    worker.cli("config", "create", "site", "--from-file", "motd=-", stdin="welcome\n")
    worker.cli("secret", "create", "db", "--from-file", "password=-", stdin="first")
    worker.cli("volume", "create", "results")
    put(worker, GIVEN)
    run = worker.client.jobs.run("given").name
    ended(worker, run)
    found = tasks(worker, run)
    assert {path: (t.state, t.reason) for path, t in found.items()} == dict.fromkeys(found, ("succeeded", ""))
    said = {path: [line.text for line in worker.client.runs.logs(run, task=path)] for path in found}
    assert said == {"secret": ["welcome"], "box": ["welcome", "first"], "again": ["kept"]}
    worker.client.jobs.delete("given")
    eventually(lambda: list((worker.run / "contents").iterdir()) == [], "no contents left")
    worker.cli("secret", "rm", "db")
    worker.cli("config", "rm", "site")
    worker.cli("volume", "rm", "results")


GANG = """
name: gang
tasks:
  boxes:
    image: busybox:1
    nodes: 3
    share_nodes: true
    command:
      - sh
      - -c
      - |
        own=$(echo "$HIVEMIND_MEMBERS" | cut -d, -f$((HIVEMIND_RANK + 1)))
        ip addr | grep -q "inet $own/" || exit 9
        if [ "$HIVEMIND_RANK" != 0 ]; then
          until echo "$HIVEMIND_RANK" | nc -w 5 "${HIVEMIND_MEMBERS%%,*}" 7000; do sleep 0.1; done
          exit
        fi
        for other in 1 2; do nc -l -p 7000 >> /got; done
        echo "all=$(sort /got | tr '\\n' ' ')" >> "$HIVEMIND_OUTPUT"
"""


def test_members_of_a_gang_reach_each_other(worker: Daemon) -> None:
    put(worker, GANG)
    run = worker.client.jobs.run("gang").name
    ended(worker, run)
    found = tasks(worker, run)["boxes"]
    assert (found.state, found.reason) == ("succeeded", "")
    assert len(found.attempts[-1].allocations) == 3


def test_after_a_reboot_what_ran_is_begun_anew(fresh: Daemon) -> None:
    fresh.cli("project", "allow", "default", "processes")
    wait = 'echo "attempt $HIVEMIND_ATTEMPT"; [ "$HIVEMIND_ATTEMPT" = 2 ] || sleep 1000'
    put(fresh, f"name: power\ntasks:\n  plain: {{run: '{wait}', retry: {{max: 1}}}}\n")
    run = fresh.client.jobs.run("power").name
    eventually(lambda: shown(fresh, 1), "it is shown")
    fresh.reboot()
    assert ended(fresh, run).state == "succeeded"
    attempts = tasks(fresh, run)["plain"].attempts
    assert [a.number for a in attempts] == [1, 2]
    assert attempts[0].cause in ("lost", "signal"), "the power goes off a little later for the last of them"
    fresh.traces.must_be_clean()


def test_what_runs_can_be_looked_into(worker: Daemon) -> None:
    put(worker, LONG)
    run = worker.client.jobs.run("long").name

    for allocation in eventually(lambda: shown(worker, 2), "both shown"):
        assert "sleep" in worker.cli("top", allocation.id).out
    worker.client.runs.cancel(run, kill=True)
    assert ended(worker, run, 20).state == "canceled"
