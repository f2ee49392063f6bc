"""Manifests are applied in an order in which each finds what it needs."""

from __future__ import annotations

from pathlib import Path

from hivemind.cli.manifests import load
from hivemind.cli.sequence import after_what_they_need


def ordered(needs: dict[str, list[str]]) -> list[str]:
    keyed = after_what_they_need(
        list(needs), key=lambda name: ("p", name), needs=lambda name: [("p", n) for n in needs[name]]
    )
    assert sorted(keyed) == sorted(needs)
    return keyed


def test_what_others_need_comes_first_else_as_written() -> None:
    assert ordered({"c": [], "a": [], "b": []}) == ["c", "a", "b"]
    assert ordered({"web": ["api", "gone"], "api": ["db"], "x": [], "db": []}) == ["db", "api", "web", "x"]


def test_circles_and_long_chains_come_to_an_end() -> None:
    assert ordered({"a": ["b"], "b": ["a"], "c": ["c"]}) == ["b", "a", "c"]
    chain = {str(n): [str(n + 1)] for n in range(5000)} | {"5000": []}
    assert ordered(chain)[0] == "5000"


def test_a_file_of_several_apps(tmp_path: Path) -> None:
    text = "kind: App\nname: {}\nspec: {{image: x:1{}}}\n"
    documents = [
        text.format("web", ", depends_on: {db: healthy}"),
        text.format("db", ""),
        "kind: Project\nname: shop\n",
    ]
    (tmp_path / "all.yaml").write_text("---\n".join(documents))
    assert [m.label for m in load([str(tmp_path / "all.yaml")])] == ["project/shop", "app/db", "app/web"]
