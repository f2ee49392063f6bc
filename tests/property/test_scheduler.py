"""What never happens when placing, whatever the hive looks like and whatever is asked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.model.node import Node
from hivemind.scheduler import place
from hivemind.scheduler.cluster import Cluster
from hivemind.scheduler.contract import Ask, Hints, Placement, Spot, Use
from hivemind.scheduler.explanation import explain, fitting
from hivemind.scheduler.filters import FILTERS
from hivemind.scheduler.load import Load, micros
from hivemind.scheduler.scorers import SCORERS

GIB = 2**30
IDS = [f"n{i}" for i in range(7)]
APPS = ["api", "db", "web"]
PORTS = ["80/tcp", "443/tcp", "53/udp"]
IMAGES = ["", "nginx", "redis"]
ZONES = ["eu", "us"]
SPOTS = [Spot("n1", "eu", (0, 5_000), 100), Spot("n2", "us"), Spot("gone", "eu")]

few_ids = st.sets(st.sampled_from(IDS), max_size=4)
cores = st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0])
memory = st.sampled_from([0, GIB // 2, GIB, 3 * GIB])


@st.composite
def hives(draw: st.DrawFn) -> tuple[dict[str, Node], dict[str, Use], Hints]:
    nodes, uses = {}, {}
    for id in draw(st.lists(st.sampled_from(IDS), unique=True)):
        nodes[id] = Node(
            id=id,
            name=f"name-{id}",
            cpus=draw(st.sampled_from([0.0, 1.0, 4.0])),
            memory=draw(st.sampled_from([0, GIB, 4 * GIB])),
            arch=draw(st.sampled_from(["amd64", "arm64"])),
            runtimes=draw(st.sampled_from([("oci",), ("oci", "process")])),
            labels=draw(st.sampled_from([{}, {"zone": "eu"}, {"zone": "us"}])),
            position=draw(st.sampled_from([(), (0, 0), (40_000, -3_000)])),
            height=draw(st.sampled_from([0, 900])),
            schedulable=draw(st.sampled_from([True, True, False])),
            held_until=draw(st.sampled_from([0, 0, 0, 5])),
        )
        if draw(st.booleans()):
            apps = draw(st.dictionaries(st.sampled_from(APPS), st.integers(1, 3), max_size=2))
            ports = draw(st.dictionaries(st.sampled_from(PORTS), st.sampled_from(APPS), max_size=2))
            uses[id] = Use(cpus=draw(cores), memory=draw(memory), apps=apps, ports=ports)
    images = {image: frozenset(draw(few_ids)) for image in IMAGES if image}
    zones = {zone: frozenset(i for i, n in nodes.items() if n.labels.get("zone") == zone) for zone in ZONES}
    return nodes, uses, Hints(images=images, zones=draw(st.sampled_from([{}, zones])))


@st.composite
def batches(draw: st.DrawFn) -> list[Ask]:
    kinds = [
        {
            "app": draw(st.sampled_from(APPS)),
            "cpus": draw(cores),
            "memory": draw(memory),
            "host_ports": tuple(sorted(draw(st.sets(st.sampled_from(PORTS), max_size=1)))),
            "constraints": draw(st.sampled_from([(), ("node.labels.zone==eu",), ("node.name!=name-n1",)])),
            "runtime": draw(st.sampled_from(["auto", "auto", "process"])),
            "image": draw(st.sampled_from(IMAGES)),
            "arch": draw(st.sampled_from(["", "amd64"])),
            "placement": draw(st.sampled_from(["spread", "binpack"])),
            "zone": draw(st.sampled_from(["", "eu", "us", "asia"])),
            "near": tuple(draw(st.lists(st.sampled_from(SPOTS), max_size=2, unique=True))),
            "priority": draw(st.sampled_from([50, 50, 90])),
        }
        for _ in range(draw(st.integers(1, 4)))
    ]
    chosen = draw(st.lists(st.tuples(st.sampled_from(kinds), few_ids), max_size=14))
    return [Ask(id=f"ask-{i}", avoid=tuple(sorted(avoid)), **kind) for i, (kind, avoid) in enumerate(chosen)]


def by_comparing_everything(
    order: list[str], asks: list[Ask], nodes: dict[str, Node], uses: dict[str, Use], hints: Hints
) -> list[Placement]:
    """What placing means: for each ask in turn, filter all nodes, score all that fit, take the best."""
    cluster = Cluster(nodes, uses, hints)  # Only for the order of the ring.
    loads = {id: Load(uses.get(id)) for id in nodes}
    by_id = {ask.id: ask for ask in asks}
    placements = []
    for ask in (by_id[id] for id in order):
        verdicts = [
            next(
                (r for f in FILTERS.values() if f.concerns(ask) and (r := f.check(n, loads[n.id], ask))), None
            )
            for n in cluster.nodes
        ]
        fits = [n for n, verdict in zip(cluster.nodes, verdicts, strict=True) if verdict is None]
        if not fits:
            placements.append(Placement(ask=ask.id, explanation=explain(verdicts)))
            continue
        start, size = cluster.start(ask.id), len(nodes)

        def merit(node: Node, ask: Ask = ask, start: int = start, size: int = size) -> tuple[int, int]:
            scorers = [s for s in SCORERS.values() if s.concerns(ask, hints)]
            total = sum(s.points(s.score(node, loads[node.id], ask, hints)) for s in scorers)
            return total, -((cluster.position[node.id] - start) % size)

        best = max([n for n in fits if n.id not in ask.avoid and not n.held_until] or fits, key=merit)
        loads[best.id].add(ask)
        placements.append(Placement(ask=ask.id, node=best.id, explanation=fitting(len(fits), len(nodes))))
    return placements


@settings(max_examples=300, deadline=None)
@given(hives(), batches())
def test_it_decides_as_comparing_everything_would(
    hive: tuple[dict[str, Node], dict[str, Use], Hints], asks: list[Ask]
) -> None:
    nodes, uses, hints = hive
    placements = place(asks, nodes, uses, hints)
    plain = by_comparing_everything([p.ask for p in placements], asks, nodes, uses, hints)
    assert [(p.ask, p.node) for p in placements] == [(p.ask, p.node) for p in plain]
    assert [p.explanation.partition(";")[0] for p in placements] == [p.explanation for p in plain]


@given(hives(), batches())
def test_every_ask_is_answered_once_and_by_priority(
    hive: tuple[dict[str, Node], dict[str, Use], Hints], asks: list[Ask]
) -> None:
    placements = place(asks, *hive)
    assert sorted(p.ask for p in placements) == sorted(a.id for a in asks)
    priority = {ask.id: ask.priority for ask in asks}
    decided = [priority[p.ask] for p in placements]
    assert decided == sorted(decided, reverse=True)


@given(hives(), batches())
def test_it_never_overcommits_a_node(
    hive: tuple[dict[str, Node], dict[str, Use], Hints], asks: list[Ask]
) -> None:
    nodes, uses, hints = hive
    by_id = {ask.id: ask for ask in asks}
    for id, node in nodes.items():
        taken = [by_id[p.ask] for p in place(asks, nodes, uses, hints) if p.node == id]
        use = uses.get(id, Use())
        wants_cpu, wants_memory = any(a.cpus for a in taken), any(a.memory for a in taken)
        assert not wants_cpu or micros(use.cpus) + sum(micros(a.cpus) for a in taken) <= micros(node.cpus)
        assert not wants_memory or use.memory + sum(a.memory for a in taken) <= node.memory
        for port in PORTS:
            owners = {a.app for a in taken if port in a.host_ports}
            assert len(owners | ({use.ports[port]} if owners and port in use.ports else set())) <= 1


@given(hives(), batches(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(
    hive: tuple[dict[str, Node], dict[str, Use], Hints], asks: list[Ask], dice: Random
) -> None:
    nodes, uses, hints = hive

    def shuffled(values: Iterable[Any]) -> list[Any]:
        mixed = list(values)
        dice.shuffle(mixed)
        return mixed

    again = place(
        shuffled(asks),
        dict(shuffled(nodes.items())),
        dict(shuffled(uses.items())),
        Hints(images=dict(shuffled(hints.images.items())), zones=dict(shuffled(hints.zones.items()))),
    )
    assert again == place(asks, nodes, uses, hints)


PROGRAM = """
import hashlib, random, sys
sys.path.insert(0, sys.argv[1])
import msgspec, scheduler
from hivemind.scheduler import place
nodes, uses, hints = scheduler.hive(60, random.Random(7))
placements = place(scheduler.batch(random.Random(8))[:2000], nodes, uses, hints)
print(hashlib.sha256(msgspec.json.encode(placements)).hexdigest())
"""


def test_the_hash_seed_of_the_process_does_not_matter() -> None:
    root = Path(__file__).parents[2]
    answers = set()
    for seed in ("0", "1", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root / "src")}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(root / "bench")],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.add(done.stdout.strip())
    assert len(answers) == 1
    assert answers != {hashlib.sha256(msgspec.json.encode([])).hexdigest()}
