"""Registries as they are agreed: credentials only sealed, and each of one user."""

from __future__ import annotations

from typing import Any

from hive import ADMIN, Hive
from hivemind.model.image_registry import RegistryManifest
from hivemind.model.principal import Principal, Role
from hivemind.state.operations import DeleteRegistry, PutRegistry, RegisterPrincipal
from hivemind.state.state import Outcome

OPERATOR = "0b" * 32


def put(hive: Hive, name: str = "reg.local:5000", *, sealed: bytes | None = None, **more: Any) -> Outcome:
    how = {key: more.pop(key) for key in ("by", "refused") if key in more}
    version = more.pop("version", None)
    manifest = RegistryManifest(name=name, **more)
    return hive.do(PutRegistry(manifest=manifest, sealed=sealed, if_version=version), **how)


def test_known_changed_and_forgotten() -> None:
    hive = Hive()
    assert put(hive, username="ann", sealed=b"box", mirrors=("m.local",)).version == 1
    known = hive.state.registries["reg.local:5000"]
    assert (known.username, known.sealed, known.mirrors) == ("ann", b"box", ("m.local",))
    assert put(hive, username="ann", version=1).version == 2
    assert hive.state.registries["reg.local:5000"].sealed == b"box", "without another it stays"
    assert put(hive, username="ann", version=1, refused=True).code == "stale"
    hive.do(DeleteRegistry(name="reg.local:5000"))
    assert "reg.local:5000" not in hive.state.registries
    assert hive.do(DeleteRegistry(name="reg.local:5000"), refused=True).code == "not-found"


def test_a_password_is_not_kept_for_another_user() -> None:
    hive = Hive()
    put(hive, username="ann", sealed=b"box")
    put(hive, username="bob")
    assert hive.state.registries["reg.local:5000"].sealed == b""
    put(hive, username="bob", sealed=b"other")
    put(hive, username="bob", sealed=b"")
    assert hive.state.registries["reg.local:5000"].sealed == b""


def test_nothing_that_is_not_sealed_gets_into_the_ledger() -> None:
    hive = Hive()
    assert put(hive, username="ann", password="sesame", refused=True).code == "invalid"
    assert put(hive, identity_token="secret", refused=True).code == "invalid"
    assert len(hive.state.registries) == 0


def test_only_administrators() -> None:
    hive = Hive()
    hive.do(RegisterPrincipal(principal=Principal(id=OPERATOR, name="op", kind="person", role=Role.OPERATOR)))
    assert put(hive, by=OPERATOR, refused=True).code == "forbidden"
    assert put(hive, by=ADMIN).version == 1


def test_nonsense_is_refused() -> None:
    hive = Hive()
    for wrong in (
        {"name": "index.docker.io"},
        {"name": "Reg.Local"},
        {"ca": "not a certificate"},
        {"insecure": True, "ca": "-----BEGIN CERTIFICATE-----"},
        {"username": "a:b"},
    ):
        assert put(hive, **wrong, refused=True).code == "invalid", wrong  # type: ignore[arg-type]
