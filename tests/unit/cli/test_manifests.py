"""Manifest files: YAML 1.2, and errors that name the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hivemind.cli.manifests import load
from hivemind.errors import Invalid
from hivemind.protocols.yaml12 import documents, dump

GOOD = """kind: App
name: web
replicas: 2
spec:
  image: nginx:latest
  resources: {memory: 128MiB}
  ports:
    - {container: 80, host: 8080}
"""


def value(text: str) -> Any:
    return next(documents(text, "x")).value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("Y", "Y"), ("12:30", "12:30"),
        ("2026-01-31", "2026-01-31"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("010", 10), ("0o10", 8), ("0x1F", 31),
        ("-7", -7),
        ("1_000", "1_000"), ("1e3", 1000.0), ("1.5", 1.5), ("0b1", "0b1"), ("1.2.3", "1.2.3"), (".5", 0.5),
        ("'8080'", "8080"), ("=", "="), ("+", "+"),
    ],
)  # fmt: skip
def test_plain_words_are_what_yaml_1_2_says(text: str, expected: Any) -> None:
    found = value(f"a: {text}")["a"]
    assert found == expected
    assert type(found) is type(expected)


def test_infinity_and_anchors_with_merge() -> None:
    assert value("a: .inf")["a"] == float("inf")
    assert value("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3") == {
        "base": {"x": 1, "y": 2},
        "other": {"x": 1, "y": 3},
    }


def test_what_is_dumped_reads_back() -> None:
    data = {"a": "no", "b": "12:30", "c": "0x10", "d": "010", "e": None, "f": [1, 1.5, True], "g": "1e3", "h": "0o7",
            "i": {"j": []}, "k": "null", "l": "ü 蜂", "m": "a: b\n"}  # fmt: skip
    assert value(dump(data)) == data


def test_several_documents_of_several_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD + "---\n# nothing\n---\nkind: Project\nname: shop\n")
    (tmp_path / "b.json").write_text(
        '{"kind": "App", "name": "db", "project": "shop", "spec": {"image": "pg"}}'
    )
    (tmp_path / "README.md").write_text("not a manifest: [")
    found = load([str(tmp_path)], "default")
    assert [(m.label, m.project) for m in found] == [
        ("project/shop", "default"),
        ("app/web", "default"),
        ("app/db", "shop"),
    ]
    web = found[1].value
    assert (web.replicas, web.spec.resources.memory, web.spec.ports[0].host) == (2, 128 * 2**20, 8080)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (GOOD.replace("image:", "imgae:"), ":5: document 1: contains unknown field 'imgae'", "did you mean 'image'?"),
        (GOOD.replace("host:", "hots:"), ":8: document 1: contains unknown field 'hots'", "did you mean 'host'?"),
        (GOOD.replace("128MiB", "many"), ":1: document 1: 'many' is not an amount of bytes", "512MiB"),
        (GOOD.replace("container: 80", "container: 99999"), ":8: document 1: Expected a whole number, 65535", ""),
        (GOOD.replace("name: web", "name: Web_1"), ":2: document 1: Expected lower-case letters", ""),
        (GOOD + "  env: {PORT: 8080}\n", "document 1: Expected `str`, got `int`", 'quote it, like "8080"'),
        (GOOD + "---\nkind: Ap\nname: x\n", ":10: document 2 has the kind 'Ap'", "did you mean 'App'?"),
        (GOOD + "---\n- a\n", ":10: document 2 is not a mapping", "kind: App"),
        ("name: web\n", ":1: document 1 has no kind", "App"),
        ("services: {web: {}}\n", "looks like a compose file", "kind:"),
        ("apiVersion: apps/v1\nkind: Deployment\n", "is written for Kubernetes", "get app"),
        ("kind: Allocation\nname: x\n", "which cannot be applied", "App"),
        ("kind: App\nname: a\nname: b\n", ":3: the key 'name' stands twice", ""),
        ("kind: App\n  name: [\n", "", ""),
        (GOOD + "---\n" + GOOD, ":10: app/web stands already at", "keep one"),
        ("", "no document in it", "kind: App"),
        ("kind: App\nname: web\n", "missing required field 'spec'", ""),
        ("kind: App\nname: web\nspec: {}\n", "an app needs an image or a command", "--image"),
    ],
)  # fmt: skip
def test_mistakes_name_file_document_and_line(tmp_path: Path, text: str, message: str, hint: str) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(text)
    with pytest.raises(Invalid) as caught:
        load([str(file)])
    assert str(file) in caught.value.message
    assert message.replace("`", "'") in caught.value.message.replace("`", "'")
    assert hint in caught.value.hint


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read: No such file"):
        load([str(tmp_path / "none.yaml")])
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="is not UTF-8 text"):
        load([str(tmp_path / "x.yaml")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(Invalid, match="holds no manifests"):
        load([str(tmp_path / "empty")])


def test_control_characters_are_refused_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: \x00")
    with pytest.raises(Invalid, match=r"x\.yaml"):
        load([str(tmp_path / "x.yaml")])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("ports: [80]", "write it with keys: container, host, protocol"),
        ("sidecars: [{name: a, image: b, portz: 3}]", "there are check, command"),
        ("mounts: [{kind: volume, src: x, target: /x}]", "did you mean 'source'?"),
        ("mounts: [{kind: vol, target: /x}]", "it may be volume, bind"),
        ("check: {probe: {kind: htp}}", "it may be command, http, tcp, grpc"),
        ("pull: sometimes", "it may be always, missing, never"),
    ],
)
def test_hints_speak_of_the_very_place(tmp_path: Path, line: str, hint: str) -> None:
    (tmp_path / "app.yaml").write_text(f"kind: App\nname: web\nspec:\n  image: web:1\n  {line}\n")
    with pytest.raises(Invalid) as caught:
        load([str(tmp_path / "app.yaml")])
    assert hint in caught.value.hint
