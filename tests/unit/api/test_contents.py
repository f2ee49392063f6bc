"""Configs, secrets and revisions over the API: what is answered, and above all what is not."""

from __future__ import annotations

import pytest

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound, Stale
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.base import encode
from hivemind.model.config import ConfigManifest
from hivemind.model.secret import SecretManifest
from hivemind.model.template import EnvFrom
from tests.unit.api.backend import VIEWER
from tests.unit.api.conftest import Running

HIDDEN = "hunter2-is-what-nobody-reads"


def test_a_secret_goes_in_and_never_comes_out(running: Running) -> None:
    hive = running.local
    made = hive.secrets.create(
        SecretManifest(name="db", data={"password": HIDDEN}, binary={"raw": b"\xff\x00"})
    )
    assert (made.keys, made.number, made.used_by) == (("password", "raw"), 1, ())
    spec = AppSpec(image="web:1", env_from=(EnvFrom(secret="db", key="password", name="PW"),))
    hive.apps.deploy(AppManifest(name="web", spec=spec))
    everything = running.do(lambda: running.backend.state.snapshot())
    for answer in (
        everything,
        encode(hive.secrets.list()),
        encode(hive.secrets.get("db")),
        encode(hive.apps.get("web")),
        encode(hive.apps.revisions("web")),
        encode(hive.secrets.plan_set("db", data={"password": HIDDEN})),
    ):
        assert HIDDEN.encode() not in answer
    assert hive.secrets.get("db").used_by == ("web",)
    with pytest.raises(Conflict, match="used by web"):
        hive.secrets.delete("db")


def test_sealing_the_same_again_changes_nothing_and_something_else_rolls(running: Running) -> None:
    hive = running.local
    hive.secrets.create(SecretManifest(name="db", data={"password": "one"}))
    spec = AppSpec(image="web:1", env_from=(EnvFrom(secret="db"),))
    hive.apps.deploy(AppManifest(name="web", spec=spec))
    assert hive.secrets.set("db", data={"password": "one"}).number == 1
    assert hive.secrets.put(SecretManifest(name="db", data={"password": "one"})).number == 1
    steps = hive.secrets.plan_set("db", data={"password": "two"})
    assert {("change", "app web"), ("change", "secret db")} <= {(s.action, s.object) for s in steps}
    assert hive.secrets.set("db", data={"password": "two"}).number == 2
    [first, second] = hive.apps.revisions("web")
    assert (first.cause, first.state, first.current) == ("deploy", "superseded", False)
    assert (second.cause, second.pins, second.by, second.current) == ("config", {"secret/db": 2}, "ada", True)


def test_a_config_is_read_back_as_it_was_written(running: Running) -> None:
    hive = running.local
    written = ConfigManifest(
        name="site", labels={"a": "b"}, data={"motd": "hällo\n"}, binary={"logo": b"\x89PNG\xff"}
    )
    hive.configs.create(written)
    found = hive.configs.get("site")
    assert (found.data, found.binary, found.labels) == (written.data, written.binary, written.labels)
    assert found.size == len("hällo\n".encode()) + 5
    assert hive.configs.set("site", data={"new": "1"}, remove=["logo"]).keys == ("motd", "new")
    with pytest.raises(NotFound, match="no key 'logo'"):
        hive.configs.set("site", remove=["logo"])
    with pytest.raises(Conflict, match="already a config"):
        hive.configs.create(written)
    with pytest.raises(Stale):
        hive.configs.put(written, if_version=1)
    hive.configs.delete("site")
    assert hive.configs.list() == []


def test_what_cannot_be(running: Running) -> None:
    hive = running.local
    with pytest.raises(Invalid, match="in data and in binary"):
        hive.configs.create(ConfigManifest(name="site", data={"a": "1"}, binary={"a": b"1"}))
    with pytest.raises(Invalid, match="at least one key"):
        hive.secrets.create(SecretManifest(name="empty"))
    with pytest.raises(Invalid, match="letters, digits"):
        hive.configs.create(ConfigManifest(name="site", data={"../etc/passwd": "1"}))
    with pytest.raises(NotFound, match="no secret 'nothing'"):
        hive.secrets.set("nothing", data={"a": "1"})
    with pytest.raises(Forbidden):
        running.remote(VIEWER).secrets.create(SecretManifest(name="db", data={"a": "1"}))


def test_a_mebibyte_fits_through_also_when_it_is_not_text(running: Running) -> None:
    hive = running.local
    assert (
        hive.configs.create(ConfigManifest(name="big", binary={"a": b"\xff" * (2**20 - 1)})).size == 2**20 - 1
    )


def test_rolling_back_pausing_and_resuming(running: Running) -> None:
    hive = running.local
    for version in (1, 2):
        hive.apps.deploy(AppManifest(name="web", spec=AppSpec(image=f"web:{version}")))
    with pytest.raises(Conflict, match="no earlier revision that was healthy"):
        hive.apps.rollback("web")
    plan = hive.apps.plan_rollback("web", to=1)
    assert ("change", "app web") in [(step.action, step.object) for step in plan]
    assert hive.apps.rollback("web", to=1).spec.image == "web:1"
    assert hive.apps.revisions("web")[-1].origin == 1
    assert hive.apps.pause("web").status.paused
    deployment = hive.deployments.get(hive.apps.get("web").status.deployment)
    assert (deployment.state, deployment.cause, deployment.progress) == ("paused", "rollback", "0/1")
    assert hive.apps.get("web").status.message == "paused: revision 3 waits"
    assert not hive.apps.resume("web").status.paused
