"""Starts of the machine are told from another."""

from __future__ import annotations

from pathlib import Path

from hivemind.daemon.boot import boot


def test_the_same_until_the_run_directory_is_empty_again(tmp_path: Path) -> None:
    first = boot(tmp_path)
    assert boot(tmp_path) == first
    (tmp_path / "boot").unlink()
    assert boot(tmp_path) != first
    assert first.startswith(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
