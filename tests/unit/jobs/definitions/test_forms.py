"""Short ways to write things say the same as the long ones."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.errors import Invalid
from hivemind.jobs.definition import findings, read
from hivemind.model.base import decode, encode
from hivemind.model.job import Concurrency, JobManifest, Routine
from hivemind.model.mount import BindMount, SecretMount, VolumeMount

PLAIN = {"run": "x"}


def task(given: Any, **beside: Any) -> Any:
    manifest = read({"name": "j", "tasks": {"t": given, **beside}})
    return manifest.spec.tasks["t"]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("x", {"run": "x"}),
        ({**PLAIN, "when": "true"}, {**PLAIN, "if": "true"}),
        ({**PLAIN, "if": False}, {**PLAIN, "if": "false"}),
        ({**PLAIN, "needs": "a"}, {**PLAIN, "needs": {"a": "success"}}),
        ({**PLAIN, "needs": ["a", {"b": "failed"}]}, {**PLAIN, "needs": {"a": "success", "b": "failure"}}),
        ({**PLAIN, "depends": "a && b.failed"}, {**PLAIN, "needs": {"a": "success", "b": "failure"}}),
        ({**PLAIN, "priority": "high"}, {**PLAIN, "priority": 75}),
        ({**PLAIN, "retries": 3}, {**PLAIN, "retry": {"max": 3}}),
        ({**PLAIN, "retry": {"max": 1, "on": 3}}, {**PLAIN, "retry": {"max": 1, "on": ["exit:3"]}}),
        ({**PLAIN, "timeout": "PT1M30S"}, {**PLAIN, "timeout": 90.0}),
        ({**PLAIN, "environment": ["A=b=c"]}, {**PLAIN, "env": {"A": "b=c"}}),
        ({**PLAIN, "env": {"A": 1, "B": True, "C": 1.5}}, {**PLAIN, "env": {"A": "1", "B": "true", "C": "1.5"}}),
        (
            {**PLAIN, "env": {"P": {"secret": "db", "key": "pw"}, "Q": "r"}},
            {**PLAIN, "env": {"Q": "r"}, "env_from": [{"secret": "db", "key": "pw", "name": "P"}]},
        ),
        (
            {**PLAIN, "resources": {"cpus": "500m", "memory": "1GiB", "gpus": 1, "nodes": 3}},
            {**PLAIN, "resources": {"cpus": 0.5, "memory": 2**30, "gpus": 1}, "nodes": 3},
        ),
        ({**PLAIN, "gpus": 2}, {**PLAIN, "resources": {"gpus": 2}}),
        (
            {"command": "a 'b c' ${{ run.id }}x", "image": "i"},
            {"command": ["a", "b c", "${{ run.id }}x"], "image": "i"},
        ),
        ({**PLAIN, "outputs": ["v"]}, {**PLAIN, "outputs": {"v": {}}}),
        ({**PLAIN, "outputs": {"v": "outputs.w", "n": "integer"}},
         {**PLAIN, "outputs": {"v": {"value": "outputs.w"}, "n": {"type": "integer"}}}),
        ({**PLAIN, "artifacts": "out/*"}, {**PLAIN, "artifacts": [{"path": "out/*"}]}),
        ({**PLAIN, "concurrency": 2}, {**PLAIN, "concurrency": {"limit": 2}}),
        ({**PLAIN, "rate": "10/s"}, {**PLAIN, "rate": {"limit": 10, "per": 1}}),
        ({**PLAIN, "rate": "100/5m"}, {**PLAIN, "rate": {"limit": 100, "per": 300}}),
        ({"steps": ["x", {"run": "y"}]}, {"steps": [{"run": "x"}, {"run": "y"}]}),
        ({"approval": "Sure?"}, {"approval": {"message": "Sure?"}}),
        ({**PLAIN, "network": "none"}, {**PLAIN, "network": {"mode": "none"}}),
        ({**PLAIN, "max-parallel": 2, "matrix": {"a": [1]}}, {**PLAIN, "max_parallel": 2, "matrix": {"a": [1]}}),
        (
            {**PLAIN, "matrix": {"a": [1], "include": [{"a": 2}], "exclude": [{"a": 1}]}},
            {**PLAIN, "matrix": {"a": [1]}, "include": [{"a": 2}], "exclude": [{"a": 1}]},
        ),
    ],
)  # fmt: skip
def test_a_short_form_of_a_task(short: Any, long: Any) -> None:
    assert task(short, a=PLAIN, b=PLAIN) == task(long, a=PLAIN, b=PLAIN)


def test_mounts_as_compose_writes_them() -> None:
    found = task({**PLAIN, "volumes": ["data:/data:ro", "/srv:/srv"], "secrets": ["db", "db/pw:/run/pw"]})
    assert found.mounts == (
        VolumeMount(source="data", target="/data", readonly=True),
        BindMount(source="/srv", target="/srv"),
        SecretMount(source="db", target="/run/secrets/db"),
        SecretMount(source="db", target="/run/pw", key="pw"),
    )


@pytest.mark.parametrize(
    "triggers",
    [
        {"triggers": {"schedule": [{"cron": "0 2 * * *"}]}},
        {"on": {"schedule": {"cron": "0 2 * * *"}}},
        {True: {"schedule": "0 2 * * *"}},
        {"on": {"schedule": ["0 2 * * *"]}},
    ],
)
def test_a_schedule(triggers: Any) -> None:
    manifest = read({"name": "j", "tasks": {"t": PLAIN}, **triggers})
    (schedule,) = manifest.spec.triggers.schedule
    assert schedule.cron == "0 2 * * *"


def test_groups_gather_tasks_written_beside_them() -> None:
    gathered = read(
        {
            "name": "j",
            "tasks": {
                "zget": PLAIN,
                "train": {**PLAIN, "needs": ["zget"]},
                "after": {**PLAIN, "needs": ["ml"]},
            },
            "groups": {"ml": {"tasks": ["zget", "train"], "sequence": True, "concurrency": {"key": "gpu"}}},
        }
    )
    own = {"concurrency": {"key": "gpu"}}
    ml = {
        "sequence": True, "order": ["zget", "train"],
        "tasks": {"zget": {**PLAIN, **own}, "train": {**PLAIN, "needs": ["zget"], **own}},
    }  # fmt: skip
    assert gathered == read({"name": "j", "tasks": {"ml": ml, "after": {**PLAIN, "needs": ["ml"]}}})


def test_mistakes_in_gathered_tasks_are_where_they_were_written() -> None:
    raw = {
        "name": "j",
        "tasks": {"a": {"run": "x", "imagee": 1, "timeout": "x"}},
        "groups": {"g": {"tasks": ["a"], "concurrency": {"limit": 0}}},
    }
    _, found = findings(raw)
    assert sorted(one.path for one in found) == [
        ("groups", "g", "concurrency", "limit"),
        ("tasks", "a", "imagee"),
        ("tasks", "a", "timeout"),
    ]


def test_the_order_of_a_sequence_survives_travel() -> None:
    manifest = read({"name": "j", "sequence": True, "tasks": {"z": PLAIN, "b": PLAIN, "m": PLAIN}})
    assert manifest.spec.order == ("z", "b", "m")
    assert decode(encode(manifest), JobManifest) == manifest


def test_what_was_read_reads_back_as_the_same() -> None:
    """What the hive shows can be applied again."""
    raw = {
        "name": "j",
        "on": {"schedule": "0 2 * * *", "webhook": "hook"},
        "routines": {"r": {"inputs": {"a": "string"}, "run": "x", "outputs": ["o"]}},
        "tasks": {
            "t": {"uses": "r", "with": {"a": "b"}, "matrix": {"m": [1]}},
            "g": {"sequence": True, "needs": "t", "tasks": {"b": "x", "a": "y"}},
        },
        "finally": {"f": "z"},
        "notify": {"slack": "https://hooks.example.com/x"},
    }
    manifest = read(raw)
    assert read(decode(encode(manifest), Any)) == manifest
    assert (
        read({"name": "j", "spec": {key: value for key, value in raw.items() if key != "name"}}) == manifest
    )


def test_every_mistake_is_found_at_once() -> None:
    with pytest.raises(Invalid, match="3 mistakes") as caught:
        read(
            {
                "name": "j",
                "tasks": {"a": {"runn": "x"}, "b": {**PLAIN, "needs": "c"}, "d": {**PLAIN, "timeout": -1}},
            }
        )
    assert "tasks.a.runn" in caught.value.message


class Shelf:
    def __init__(self, **versions: Routine) -> None:
        self.versions = {number.lstrip("v"): routine for number, routine in versions.items()}
        self.number = max(map(int, self.versions))


def test_routines_of_the_library_are_resolved_to_versions() -> None:
    from hivemind.jobs.library import resolve

    inner = Routine(run="inner")
    shelf = read(
        {"name": "j", "routines": {"o": {"steps": [{"uses": "inner"}]}}, "tasks": {"t": {"uses": "o"}}}
    )
    library = {"fetch": Shelf(v1=Routine(run="one"), v2=Routine(run="two")), "inner": Shelf(v7=inner),
               "outer": Shelf(v1=shelf.spec.routines["o"])}  # fmt: skip
    raw = {"name": "j", "tasks": {"a": {"uses": "fetch"}, "b": {"uses": "fetch@1"}, "c": {"uses": "outer"}}}
    spec = resolve(read(raw, routines=library).spec, library)
    assert spec.tasks["a"].uses == "fetch@2"
    assert spec.tasks["b"].uses == "fetch@1"
    assert set(spec.routines) == {"fetch@1", "fetch@2", "outer@1", "inner@7"}
    assert spec.routines["outer@1"].steps[0].uses == "inner@7"
    assert decode(encode(JobManifest(name="j", spec=spec)), JobManifest).spec == spec
    with pytest.raises(Invalid, match="no version 3"):
        read({"name": "j", "tasks": {"a": {"uses": "fetch@3"}}}, routines=library)
    with pytest.raises(Invalid, match="no routine 'fetsh'"):
        read({"name": "j", "tasks": {"a": {"uses": "fetsh"}}}, routines=library)


def test_more_than_ten_thousand_tasks_are_too_many() -> None:
    tasks = {f"t{n}": {**PLAIN, "needs": [f"t{n - 1}"] if n else []} for n in range(10_001)}
    with pytest.raises(Invalid, match="10,001 tasks"):
        read({"name": "j", "tasks": tasks})


def test_the_limit_of_a_group_is_one_for_all_in_it() -> None:
    inner = {"a": PLAIN, "b": {**PLAIN, "concurrency": {"key": "own"}}, "h": {"tasks": {"c": PLAIN}}}
    group = task({"concurrency": 2, "retries": 1, "priority": "low", "tasks": inner})
    assert group.concurrency is None
    assert group.tasks["a"].concurrency == Concurrency(key="${{ run.job }}.t", limit=2)
    assert group.tasks["b"].concurrency == Concurrency(key="own")
    assert group.tasks["h"].tasks["c"].concurrency == group.tasks["a"].concurrency


def test_the_limit_of_a_group_is_not_of_what_stands_in_no_queue() -> None:
    tasks = {"ask": {"approval": "Go on?"}, "call": {"job": "other"}, "work": {"run": "x"}}
    group = read({"name": "a", "tasks": {"g": {"concurrency": {"limit": 1}, "tasks": tasks}}}).spec.tasks["g"]
    assert [name for name, task in group.tasks.items() if task.concurrency] == ["work"]


def test_a_condition_may_speak_of_the_member() -> None:
    assert task({**PLAIN, "for_each": [1, 2], "if": "item > 1"}).if_ == "item > 1"


def test_what_is_nested_without_end_is_refused() -> None:
    deep: Any = PLAIN
    for _ in range(5000):
        deep = {"tasks": {"t": deep}}
    with pytest.raises(Invalid, match="nested too deeply"):
        read({"name": "j", **deep})
    eleven: Any = PLAIN
    for _ in range(11):
        eleven = {"tasks": {"t": eleven}}
    with pytest.raises(Invalid, match="groups are nested"):
        read({"name": "j", **eleven})
