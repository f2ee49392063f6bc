"""The file of a local cluster, its ports, and what it writes down before it starts anything."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from hivemind.cli.local_cluster import daemons
from hivemind.cli.local_cluster.cluster import last_words, plan
from hivemind.cli.local_cluster.config import ClusterConfig, load
from hivemind.cli.local_cluster.place import VARIABLE, LocalNode, Place, Written
from hivemind.cli.local_cluster.ports import take
from hivemind.cli.local_cluster.view import briefly
from hivemind.errors import Conflict, Invalid
from tests.unit.cli.conftest import Run

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "clusters"))
    return tmp_path / "clusters"


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "cluster-config.yaml"
    path.write_text(text)
    return str(path)


def test_the_example_and_the_page_say_the_same(tmp_path: Path) -> None:
    example = load(str(ROOT / "examples" / "cluster-config.yaml"))
    page = (ROOT / "docs" / "cluster.md").read_text()
    found = re.search(r"```\n(swarm:.*?)```", page, re.DOTALL)
    assert found and load(written(tmp_path, found[1])) == example
    assert (example.swarm, example.nodes.count, example.cleanup) == ("demo", 10, True)


def test_ten_nodes_unless_it_says_otherwise(tmp_path: Path) -> None:
    config = load(written(tmp_path, "swarm: test\n"))
    assert config == ClusterConfig(swarm="test") and config.nodes.count == 10
    assert load(written(tmp_path, "nodes: {count: 3, httpPort: 1, wsPort: 2}\n")).nodes.ws_port == 2


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("swam: x\n", "'swam'", "did you mean 'swarm'"),
        ("nodes: {http_port: 3000}\n", "'nodes.http_port'", "httpPort"),
        ("nodes: {randomPortRange: {low: 1}}\n", "'nodes.randomPortRange.low'", "min, max"),
        ("nodes: {count: 0}\n", "nodes.count", ""),
        (
            "nodes: {count: 10, randomPortRange: {min: 20000, max: 20010}}\n",
            "need 30 ports",
            "min: 20000, max: 20030",
        ),
        ("nodes: {httpPort: 3000, wsPort: 3000}\n", "the same", "of its own"),
        ("- a\n", "not one document", "swarm"),
        ("# nothing\n", "is empty", "examples/cluster-config.yaml"),
        ("cleanup: maybe\n", "cleanup", ""),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(Invalid, match=re.escape(message)) as caught:
        load(written(tmp_path, text))
    assert hint in caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read") as caught:
        load(str(tmp_path / "none.yaml"))
    assert "docs/cluster.md" in caught.value.hint


def test_every_node_has_ports_of_its_own_and_keeps_them(tmp_path: Path) -> None:
    [http, ws] = take(30001, 40000, 2)
    text = f"swarm: test\nnodes: {{count: 5, httpPort: {http}, wsPort: {ws}}}\n"
    config, place = load(written(tmp_path, text)), Place("test")
    first = plan(config, place)
    ports = [p for n in first.nodes for p in (n.web_port, n.ws_port, n.hive_port) if p]
    assert len(ports) == len(set(ports)) == 11
    assert (first.nodes[0].web_port, first.nodes[0].ws_port) == (http, ws)
    place.write(first)
    assert plan(config, place) == first == Place("test").read()
    kept = load(written(tmp_path, text + "cleanup: false\n"))
    assert not plan(kept, place).cleanup, "how it ends is for the file to say"
    for other in (text.replace("count: 5", "count: 4"), text.replace(f"httpPort: {http}", "httpPort: 9")):
        with pytest.raises(Conflict, match=f"of 5 nodes already, with httpPort {http} and wsPort {ws}"):
            plan(load(written(tmp_path, other)), place)


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} is taken"):
            plan(load(written(tmp_path, f"nodes: {{httpPort: {port}}}\n")), Place("swarm"))


def test_one_command_at_a_time_watches_over_it() -> None:
    place = Place("test")
    assert place.holder() == 0
    place.hold()
    assert Place("test").holder() == os.getpid()
    with pytest.raises(Conflict, match=str(os.getpid())):
        Place("test").hold()
    place.remove()
    assert Place("test").holder() == 0 and not place.home.exists()


def node_of(place: Place) -> LocalNode:
    return LocalNode(number=1, name="a-1", home=str(place.home / "1"), web_port=1, ws_port=0, hive_port=2)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("info: starts\nerror: cannot listen\nhint: end it\n", "cannot listen"),
        ("Traceback\nImportError: no\n", "ImportError: no"),
        ("hint: alone\n", "hint: alone"),
        ("", "it said nothing"),
    ],
)
def test_a_daemon_that_ended_is_quoted_with_what_was_wrong(log: str, told: str) -> None:
    node = node_of(Place("a"))
    node.data.mkdir(parents=True)
    node.log.write_text(log)
    assert last_words(node) == told


def test_one_that_runs_detached_is_not_swept_away(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, place = written(tmp_path, "swarm: a\n"), Place("a")
    place.write(Written(swarm="a", cleanup=True, nodes=(node_of(place),), detached=True))
    monkeypatch.setattr(daemons, "pids", lambda nodes: {1: 4711})
    result = run("cluster", "up", "--file", path)
    assert result.code == 5 and "runs already, detached" in result.err and "cluster down --file" in result.err
    assert place.read()


def test_what_cannot_begin_leaves_nothing(tmp_path: Path, run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = written(tmp_path, f"swarm: a\nnodes: {{httpPort: {taken.getsockname()[1]}}}\n")
        assert run("cluster", "up", "--file", path).code == 5
    assert not Place("a").home.exists()


def test_how_a_node_was_found_has_little_room_on_the_screen() -> None:
    assert briefly("let in at a-1, found by the DHT") == "DHT: a-1"
    assert briefly("let in at 10.0.0.1:7, found by the join token") == "join token: 10.0.0.1:7"
    assert briefly("founded the hive") == briefly("") == ""
