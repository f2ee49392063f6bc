"""Configs and secrets as they are agreed: numbered, pinned by revisions, rolled out, kept as long as needed."""

from __future__ import annotations

from typing import Any

from hive import ADMIN, Hive
from hivemind.model.allocation import AllocationState
from hivemind.model.app import Update
from hivemind.model.content import MAX_SIZE, ContentKind, Piece
from hivemind.model.deployment import DeploymentState
from hivemind.model.mount import ConfigMount, SecretMount
from hivemind.model.template import EnvFrom
from hivemind.state.forecast import forecast
from hivemind.state.operations import (
    DeleteApp,
    DeleteContent,
    PauseApp,
    PutContent,
    RestartApp,
    RollbackApp,
    StopApp,
)
from hivemind.state.state import Outcome, State

USES = (SecretMount(source="db", target="/run/db"),)


def put(
    hive: Hive, kind: ContentKind = "secret", name: str = "db", *, refused: bool = False, **more: Any
) -> Outcome:
    values = more.pop("values", {"password": b"one"})
    data = {k: Piece(value=v, digest="" if kind == "config" else f"d-{v!r}") for k, v in values.items()}
    return hive.do(PutContent(kind=kind, project="default", name=name, data=data, **more), refused=refused)


def pinned(hive: Hive, app: str = "web") -> dict[str, int]:
    found = hive.app(app)
    return hive.state.revision(found.id, found.revision).pins


def numbers(hive: Hive, kind: str = "secret", name: str = "db") -> list[int]:
    return hive.state.content_numbers(kind, "default", name)


def test_an_app_that_names_what_is_missing_is_told_how_to_make_it() -> None:
    hive = Hive()
    refused = hive.deploy(mounts=USES, refused=True)
    assert refused.message == "there is no secret 'db' in project 'default'"
    assert refused.hint == "hivemind secret create db --from-file KEY=PATH"
    put(hive)
    keyless = hive.deploy(env_from=(EnvFrom(secret="db", key="user", name="U"),), refused=True)
    assert keyless.message == "secret 'db' has no key 'user'; its keys: password"
    assert not hive.state.apps


def test_a_change_rolls_the_apps_that_use_it_and_no_others() -> None:
    hive = Hive()
    put(hive)
    put(hive, "config", "site", values={"a": b"1"})
    hive.deploy("web", mounts=USES, replicas=2)
    hive.deploy("deaf", env_from=(EnvFrom(secret="db"),), on_change="ignore")
    hive.deploy("other", mounts=(ConfigMount(source="site", target="/etc/site"),))
    hive.settle()
    put(hive, values={"password": b"two"})
    revision = hive.state.revision(hive.app().id, 2)
    assert (revision.cause, revision.pins, revision.by) == ("config", {"secret/db": 2}, "admin")
    assert [hive.app(name).revision for name in ("deaf", "other")] == [1, 1]
    assert sum(a.revision == 2 for a in hive.live()) == 1, "one replica at a time"
    hive.settle()
    assert {a.revision for a in hive.live()} == {2}
    hive.do(RestartApp(project="default", name="deaf"))
    assert pinned(hive, "deaf") == {"secret/db": 2}, "who ignores changes takes them up at the next restart"


def test_what_says_the_same_changes_nothing() -> None:
    hive = Hive()
    first = put(hive)
    hive.deploy(mounts=USES)
    assert put(hive).version == first.version
    assert put(hive, keep=True).version == first.version
    assert (hive.app().revision, numbers(hive)) == (1, [1])
    labelled = put(hive, labels={"a": "b"})
    assert (labelled.version, hive.app().revision) == (first.version + 1, 1), "a label rolls nobody"


def test_single_keys_are_set_and_removed() -> None:
    hive = Hive()
    put(hive)
    put(hive, values={"user": b"ann"}, keep=True)
    assert sorted(hive.state.contents["secret/default/db/00000002"].data) == ["password", "user"]
    put(hive, values={}, keep=True, remove=("password",))
    assert sorted(hive.state.contents["secret/default/db/00000003"].data) == ["user"]
    assert put(hive, values={}, keep=True, remove=("nothing",), refused=True).code == "not-found"
    assert "at least one key" in put(hive, values={}, keep=True, remove=("user",), refused=True).message
    assert "at least one key" in put(hive, values={}, refused=True).message, (
        "a document without values is no wish"
    )


def test_a_key_that_an_app_names_cannot_go() -> None:
    hive = Hive()
    put(hive)
    hive.deploy(env_from=(EnvFrom(secret="db", key="password"),))
    refused = put(hive, values={"user": b"ann"}, refused=True)
    assert refused.message == "app 'web' uses the key 'password' of secret 'db'"


def test_it_holds_no_more_than_a_mebibyte() -> None:
    hive = Hive()
    assert put(hive, "config", values={"a": b"x" * MAX_SIZE}, refused=True).code == "too-large"
    put(hive, "config", values={"a": b"x" * (MAX_SIZE - 1)})
    assert put(hive, "config", values={"b": b"yy"}, keep=True, refused=True).code == "too-large"


def test_what_is_in_use_is_not_removed() -> None:
    hive = Hive()
    put(hive)
    hive.deploy("one", mounts=USES)
    hive.deploy("two", mounts=USES)
    gone = DeleteContent(kind="secret", project="default", name="db")
    refused = hive.do(gone, refused=True)
    assert (refused.code, refused.message) == ("conflict", "secret 'db' is used by one, two")
    for name in ("one", "two"):
        hive.do(DeleteApp(project="default", name=name))
    hive.settle()
    hive.do(gone)
    assert (len(hive.state.bundles), len(hive.state.contents)) == (0, 0)
    assert hive.do(gone, refused=True).code == "not-found"


def test_a_bad_secret_falls_back_to_the_one_before() -> None:
    hive = Hive()
    put(hive)
    hive.deploy(mounts=USES)
    hive.settle()
    put(hive, values={"password": b"wrong"})
    hive.report(lambda a: a.revision == 2, AllocationState.PLACED, failing=True, reason="cannot log in")
    hive.settle()
    assert (hive.app().revision, pinned(hive), numbers(hive)) == (1, {"secret/db": 1}, [1, 2])
    assert [a.revision for a in hive.live()] == [1]
    put(hive, values={"password": b"right"})
    hive.settle()
    assert (hive.app().revision, pinned(hive)) == (3, {"secret/db": 3})


def test_a_roll_back_brings_the_old_secret_back_even_when_it_was_removed_meanwhile() -> None:
    hive = Hive()
    put(hive)
    hive.deploy(mounts=USES)
    hive.settle()
    put(hive, values={"password": b"two"})
    hive.settle()
    hive.do(RollbackApp(project="default", name="web"))
    hive.settle()
    revision = hive.state.revision(hive.app().id, 3)
    assert (revision.cause, revision.origin, revision.pins) == ("rollback", 1, {"secret/db": 1})
    hive.deploy(mounts=())
    hive.settle()
    hive.do(DeleteContent(kind="secret", project="default", name="db"))
    assert numbers(hive) == [1, 2], "kept for the revisions that pin them"
    hive.do(RollbackApp(project="default", name="web", to=2))
    assert pinned(hive) == {"secret/db": 2}
    put(hive, values={"password": b"anew"})
    assert numbers(hive) == [1, 2, 3], "a new secret of that name is not taken for an old one"
    assert pinned(hive) == {"secret/db": 3}


def test_contents_go_with_the_last_revision_that_pins_them() -> None:
    hive = Hive()
    put(hive)
    hive.deploy(mounts=USES)
    hive.settle()
    for number in range(30):
        put(hive, values={"password": f"{number}".encode()})
        hive.settle()
    assert len(hive.state.revisions_of(hive.app())) == 20
    assert numbers(hive) == list(range(12, 32))
    hive.do(DeleteApp(project="default", name="web"))
    hive.settle()
    assert numbers(hive) == [31], "the newest stays: somebody may want it yet"


def test_a_content_that_nobody_pins_goes_when_the_next_comes() -> None:
    hive = Hive()
    for number in range(5):
        put(hive, values={"password": f"{number}".encode()})
    assert numbers(hive) == [5]


def test_stopped_and_paused_apps_take_the_change_up_later() -> None:
    hive = Hive()
    put(hive)
    for name in ("halted", "paused"):
        hive.deploy(name, mounts=USES)
    hive.settle()
    hive.do(StopApp(project="default", name="halted"))
    hive.do(PauseApp(project="default", name="paused"))
    hive.settle()
    put(hive, values={"password": b"two"})
    hive.settle()
    assert not hive.live("halted")
    assert [a.revision for a in hive.live("paused")] == [1]
    assert [pinned(hive, name) for name in ("halted", "paused")] == [{"secret/db": 2}] * 2


def test_configs_of_other_projects_are_their_own() -> None:
    from hivemind.model.project import ProjectManifest
    from hivemind.state.operations import DeleteProject, PutProject

    hive = Hive()
    hive.do(PutProject(manifest=ProjectManifest(name="shop")))
    put(hive)
    hive.deploy(mounts=USES)
    hive.settle()
    hive.do(
        PutContent(kind="secret", project="shop", name="db", data={"password": Piece(value=b"x", digest="x")})
    )
    assert hive.app().revision == 1
    refused = hive.do(DeleteProject(name="shop"), refused=True)
    assert "secret" in refused.message
    nowhere = PutContent(kind="config", project="nowhere", name="a", data={})
    assert hive.do(nowhere, refused=True).hint == "hivemind project create nowhere"


def test_the_plan_of_a_change_is_the_plan_of_its_updates() -> None:
    hive = Hive()
    put(hive)
    hive.deploy(mounts=USES, replicas=2, update=Update(max_parallel=2))
    hive.settle()
    change = PutContent(
        kind="secret", project="default", name="db", data={"password": Piece(value=b"2", digest="2")}
    )
    steps = [(step.action, step.object) for step in forecast(hive.state, change, ADMIN)]
    assert ("change", "secret db") in steps
    assert steps.count(("start", "web.0")) == steps.count(("start", "web.1")) == 1


def test_contents_survive_a_snapshot_and_go_on_alike() -> None:
    hive = Hive()
    put(hive)
    hive.deploy(mounts=USES)
    hive.settle()
    put(hive, values={"password": b"two"})
    hive.state = State.restore(hive.state.snapshot())
    hive.settle()
    assert hive.state.deployments_of(hive.app().id)[-1].state is DeploymentState.SUCCEEDED
    hive.do(DeleteApp(project="default", name="web"))
    hive.settle()
    assert numbers(hive) == [2]
