"""Private keys: made once, whole or not at all, for their owner's eyes only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hivemind.daemon import keys
from hivemind.daemon.keys import identity, vault
from hivemind.errors import Corrupt


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        made = identity(tmp_path / "node.key")
    finally:
        os.umask(old)
    assert identity(tmp_path / "node.key").public == made.public
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["node.key"]


@pytest.mark.parametrize("call", ["write", "fsync", "link", "unlink"])
def test_a_crash_while_it_is_made_leaves_a_whole_key_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    class Crash(Exception):
        pass

    def crashes(*arguments: object, **more: object) -> None:
        raise Crash

    with monkeypatch.context() as broken:
        broken.setattr(keys.os, call, crashes)
        with pytest.raises(Crash):
            identity(tmp_path / "node.key")
    assert not (tmp_path / "node.key").exists() or (tmp_path / "node.key").stat().st_size == 32
    made = identity(tmp_path / "node.key")
    assert identity(tmp_path / "node.key").public == made.public


def test_of_two_daemons_that_make_it_at_once_both_get_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, others = os.link, []

    def second_comes_first(source: object, target: object) -> None:
        monkeypatch.setattr(keys.os, "link", link)
        others.append(identity(tmp_path / "node.key").public)
        link(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(keys.os, "link", second_comes_first)
    mine = identity(tmp_path / "node.key").public
    assert others == [mine]
    assert os.listdir(tmp_path) == ["node.key"]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_damaged_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "node.key").write_bytes(content)
    with pytest.raises(Corrupt, match="not 32"):
        identity(tmp_path / "node.key")
    assert (tmp_path / "node.key").read_bytes() == content


def test_the_hive_key_opens_tomorrow_what_it_sealed_today(tmp_path: Path) -> None:
    sealed = vault(tmp_path / "hive.key").seal(b"hunter2", "secret/default/db/password", bytes(24))
    assert vault(tmp_path / "hive.key").open(sealed, "secret/default/db/password") == b"hunter2"
    assert stat.S_IMODE((tmp_path / "hive.key").stat().st_mode) == 0o600
