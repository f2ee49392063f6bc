"""What systemd is told, and the unit that it runs."""

from __future__ import annotations

import os
import shlex
import socket
from pathlib import Path

import pytest

from hivemind.daemon.systemd import machine_stops, notify, unit

pytestmark = pytest.mark.anyio


def command(text: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return line.removeprefix("ExecStart=")


def test_the_unit_keeps_containers_alive_and_waits_for_readiness() -> None:
    lines = unit(["--web-port", "3001"]).splitlines()
    assert {"Type=notify", "KillMode=process", "Restart=always", "Delegate=yes"} <= set(lines)
    assert command(unit(["--web-port", "3001"])).endswith(" -m hivemind daemon --web-port 3001")


@pytest.mark.parametrize("argument", ["/a b", 'say "hi"', "back\\slash", "it's", ""])
def test_arguments_arrive_as_they_were_given(argument: str) -> None:
    assert shlex.split(command(unit(["--data-dir", argument])))[-1] == argument


def test_what_systemd_would_expand_is_protected() -> None:
    assert command(unit(["--labels", "a=100%,b=$HOME"])).endswith('"a=100%%,b=$$HOME"')


@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_told_where_it_asked_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    address = f"@hivemind-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if abstract else address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


def test_a_systemd_that_does_not_listen_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("STOPPING=1")
    assert "systemd" in caplog.text


@pytest.mark.parametrize(("said", "stops"), [("stopping", True), ("running", False), ("degraded", False)])
async def test_it_is_asked_whether_the_whole_machine_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, stops: bool
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\n[ "$*" = is-system-running ] && echo {said}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("hivemind.daemon.systemd._BOOTED", tmp_path)
    assert await machine_stops() is stops
    monkeypatch.setattr("hivemind.daemon.systemd._BOOTED", tmp_path / "no-systemd")
    assert not await machine_stops()
