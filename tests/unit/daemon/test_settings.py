"""Settings: three ways to say each, one order among them, and errors that name the place."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hivemind.daemon import settings
from hivemind.daemon.assembly import wanted
from hivemind.daemon.reference import example, text
from hivemind.daemon.settings import NodeSettings, load
from hivemind.errors import Invalid

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(autouse=True)
def no_file_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEFAULT_FILE", str(tmp_path / "none.toml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hivemind.toml"


def test_the_reference_is_current() -> None:
    assert (DOCS / "configuration.md").read_text() == text(), "run: ./run docs"


def test_the_example_says_what_holds_without_it(file: Path) -> None:
    file.write_text(example())
    assert load({}, {}, str(file)) == load({}, {})
    said = {f"{section}.{key}" for section, keys in tomllib.loads(example()).items() for key in keys}
    assert said == {option.key for option in settings.options()}


def test_a_flag_beats_the_variable_which_beats_the_file(file: Path) -> None:
    file.write_text('[api]\nweb_port = 1\nweb_host = "::1"\n[node]\ncpus = 2\n')
    environ = {"HIVEMIND_WEB_PORT": "2", "HIVEMIND_CPUS": "500m", "HIVEMIND_WEB_HOST": ""}
    loaded = load({"web_port": "3"}, environ, str(file))
    assert (loaded.api.web_port, loaded.node.cpus, loaded.api.web_host) == (3, 0.5, "::1")


def test_every_setting_can_be_said_in_a_variable() -> None:
    said = {
        "number": {"HIVEMIND_WEB_PORT": "0", "HIVEMIND_DNS_PORT": "53"},
        "amount": {"HIVEMIND_MEMORY": "1GiB", "HIVEMIND_CPUS": "250m"},
        "several": {"HIVEMIND_LABELS": "zone=eu, disk=ssd", "HIVEMIND_DNS_UPSTREAM": "9.9.9.9,1.1.1.1"},
    }
    loaded = load({}, {k: v for group in said.values() for k, v in group.items()})
    assert (loaded.api.web_port, loaded.network.dns_port) == (0, 53)
    assert (loaded.node.memory, loaded.node.cpus) == (2**30, 0.25)
    assert loaded.node.labels == {"zone": "eu", "disk": "ssd"}
    assert loaded.network.dns_upstream == ("9.9.9.9", "1.1.1.1")


@pytest.mark.parametrize(
    ("flags", "environ", "message", "hint"),
    [
        ({"web_port": "many"}, {}, "--web-port: 'many' is not a whole number", "TCP port"),
        ({"web_port": "-1"}, {}, "--web-port: Expected a whole number, 0 or more", "TCP port"),
        (
            {},
            {"HIVEMIND_WEB_PORT": "65536"},
            "HIVEMIND_WEB_PORT: Expected a whole number, 65535 or less",
            "TCP port",
        ),
        ({}, {"HIVEMIND_DNS_PORT": "²"}, "HIVEMIND_DNS_PORT: '²' is not a whole number", "ask for names"),
        (
            {},
            {"HIVEMIND_RUNTIME": "magic"},
            "HIVEMIND_RUNTIME: Invalid enum value 'magic'",
            "auto, containerd, docker, oci, process",
        ),
        ({}, {"HIVEMIND_LABELS": "zone"}, "HIVEMIND_LABELS: 'zone' is not key=value", "constraints"),
        ({"memory": "much"}, {}, "--memory: 'much' is not an amount of bytes", "512MiB"),
    ],
)
def test_a_bad_flag_or_variable_is_named(
    flags: dict[str, str], environ: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(Invalid) as caught:
        load(flags, environ)
    assert caught.value.message == message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"[api]\nweb_prt = 1", "unknown field 'web_prt' - at '$.api'", "did you mean 'web_port'?"),
        (b"[apy]", "unknown field 'apy'", "did you mean 'api'?"),
        (b"api = 3", "Expected 'object', got 'int' - at '$.api'", "socket, tls_cert"),
        (
            b"[api]\nweb_port = '3000'",
            "Expected 'int', got 'str' - at '$.api.web_port'",
            "docs/configuration.md",
        ),
        (b"web", "is not TOML", "docs/configuration.md"),
        (b"\xff\xfe", "is not TOML", "docs/configuration.md"),
    ],
)
def test_a_bad_file_is_named_with_the_key(file: Path, content: bytes, message: str, hint: str) -> None:
    file.write_bytes(content)
    with pytest.raises(Invalid) as caught:
        load({"web_port": "1"}, {}, str(file))  # a flag does not hide what is wrong with the file
    assert str(file) in caught.value.message and message in caught.value.message
    assert hint in caught.value.hint


def test_the_default_file_is_read_where_there_is_one(tmp_path: Path) -> None:
    assert load({}, {}).api.web_port == 3000
    (tmp_path / "none.toml").write_text("[api]\nweb_port = 4000\n")
    assert load({}, {}).api.web_port == 4000


def test_a_file_that_is_asked_for_must_be_there(file: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read: No such file"):
        load({}, {}, str(file))


def test_sockets_are_below_a_data_directory_of_ones_own(tmp_path: Path) -> None:
    node = load({"data_dir": str(tmp_path)}, {})
    assert node.node.run_dir == str(tmp_path / "run")
    assert node.api.socket == str(tmp_path / "run" / "hivemind.sock")
    moved = load({"data_dir": str(tmp_path), "run_dir": "/run/other", "socket": "/run/here.sock"}, {})
    assert (moved.node.run_dir, moved.api.socket) == ("/run/other", "/run/here.sock")


def test_lists_may_be_given_with_commas_or_several_times() -> None:
    for given in (["oci,containerd"], ["oci", "containerd"]):
        assert load({"runtimes": given}, {}).node.runtimes == ("oci", "containerd")
    assert load({}, {"HIVEMIND_RUNTIMES": "oci,containerd"}).node.runtimes == ("oci", "containerd")


def test_the_default_runtime_comes_first_and_plain_processes_last() -> None:
    def named(**settings: object) -> tuple[str, ...]:
        return wanted(NodeSettings(**settings))  # type: ignore[arg-type]

    assert named() == ("oci", "process")
    assert named(runtime="process") == ("process",)
    assert named(runtime="containerd", runtimes=("oci", "containerd")) == ("containerd", "oci", "process")
