"""Text that was written to bring down whoever reads it: the reader of YAML is one of the daemon's doors."""

from __future__ import annotations

import pytest

from hivemind.errors import Invalid
from hivemind.protocols.yaml12 import documents


def bomb(levels: int, width: int = 10) -> str:
    lines = ["a0: &a0 [" + ",".join(["x"] * width) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * width) + "]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: " + "{a: " * 100_000, "nested too deeply"),
        ("- " * 100_000 + "x", "nested too deeply"),
        (bomb(9), "too many values"),
        ("a: &a {b: &b [1], <<: *a}", "within itself"),
        ("a: &a [*a]", "within itself"),
        ("a: " + "9" * 6000, "a number is too long"),
        ("a: !!int x", "not what its tag says"),
        ("a: !!float x", "not what its tag says"),
        ("a: !!timestamp x", "not what its tag says"),
        ("a: !!python/object/apply:os.system [id]", "tag"),
        ("a: *nowhere", "undefined alias"),
        ("a: \x00", "not YAML|not allowed|control"),
    ],
)
def test_it_is_refused_and_nothing_else_happens(text: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        list(documents(text, "it"))


def test_anchors_that_people_use_are_read() -> None:
    [found] = documents("base: &base {cpus: 1, env: [a, b]}\nweb: {<<: *base, image: web}\n" + bomb(4), "it")
    assert found.value["web"] == {"cpus": 1, "env": ["a", "b"], "image": "web"}
