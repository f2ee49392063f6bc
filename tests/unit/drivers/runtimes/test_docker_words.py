"""What the docker runtime says to the engine and understands of it, without one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.drivers.runtimes.contract import ContainerSpec, LogLine, Mount
from hivemind.drivers.runtimes.docker import configuration
from hivemind.drivers.runtimes.docker.container import milliseconds, nanoseconds, stamp
from hivemind.drivers.runtimes.docker.logs import _cut, _FromTerminal, _Joiner
from hivemind.drivers.runtimes.docker.sharing import waiting_program
from hivemind.drivers.runtimes.docker.streams import Frames, Stream
from hivemind.errors import Unavailable, Unsupported

T1, T2 = b"2026-11-21T12:33:13.309019535Z ", b"2026-11-21T12:33:14.000000001Z "
N1, N2 = 1795264393309019535, 1795264394000000001

pieces = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=300)), max_size=20)


@given(pieces, st.integers(min_value=1, max_value=64))
def test_frames_come_whole_however_they_arrive(sent: list[tuple[Stream, bytes]], size: int) -> None:
    wire = b"".join(
        struct.pack(">BxxxI", 1 if stream == "stdout" else 2, len(data)) + data for stream, data in sent
    )
    frames, heard = Frames(), []
    for at in range(0, len(wire), size):
        heard += frames.feed(wire[at : at + size])
    assert heard == sent


def test_what_are_no_frames_is_not_taken_for_output() -> None:
    with pytest.raises(Unavailable):
        list(Frames().feed(b"HTTP/1.1 500"))


def lines(*records: tuple[Stream, bytes]) -> list[LogLine]:
    joiner = _Joiner()
    found = [line for stream, record in records for line in joiner.feed(stream, record)]
    return [*found, *joiner.rest()]


def test_records_of_one_time_are_one_line() -> None:
    assert lines(("stdout", T1 + b"x" * 9), ("stderr", T2 + b"other\n"), ("stdout", T1 + b"yz\n")) == [
        LogLine(N2, "stderr", "other"),
        LogLine(N1, "stdout", "x" * 9 + "yz"),
    ]


def test_a_line_that_lost_its_end_ends_where_another_begins() -> None:
    assert lines(("stdout", T1 + b"long"), ("stdout", T2 + b"next\n"), ("stdout", T2 + b"rest")) == [
        LogLine(N1, "stdout", "long"),
        LogLine(N2, "stdout", "next"),
        LogLine(N2, "stdout", "rest"),
    ]


def test_long_lines_of_a_terminal_are_joined_and_times_in_a_text_stay() -> None:
    full = b"x" * 16384
    assert list(_cut(T1 + full + T1 + b"end")) == [T1 + full, T1 + b"end"]
    assert list(_cut(T1 + b"said at " + T2 + b"so")) == [T1 + b"said at " + T2 + b"so"]
    raw = T1 + full + T1 + b"end\r\n" + T2 + b"next\r\n"
    terminal = _FromTerminal()
    records = [item for at in range(0, len(raw), 1000) for item in terminal.feed(raw[at : at + 1000])]
    assert [line.text for line in lines(*records)] == [full.decode() + "end", "next"]


def test_times_of_the_engine() -> None:
    assert nanoseconds("2026-11-21T12:33:13.309019535Z") == N1
    assert nanoseconds("2026-11-21T13:33:13.309019535+01:00") == N1
    assert nanoseconds("2026-11-21T12:33:13.3Z") == N1 // 10**9 * 10**9 + 300_000_000
    assert nanoseconds("0001-01-01T00:00:00Z") == 0 == milliseconds("")
    assert stamp(N1) == "1795264393.309019535"


def test_everything_of_a_spec_is_said(tmp_path: Path) -> None:
    spec = ContainerSpec(
        id="abc.0", image="sha256:1", args=("run", "it"), env={"A": "1"}, secret_env={"S": "2"}, user="",
        network="ours", ip="10.1.2.3", hostname="web-0", hosts="x", memory=7, cpus=0.5, pids=3,
        seccomp="unconfined", apparmor="strict", users="host", stop_signal="SIGQUIT", labels={"app": "web"},
        mounts=(Mount(target="/etc/hosts", source="/own"), Mount(target="/t", size=5, mode=0o700)),
    )  # fmt: skip
    said = configuration.body(spec, "id-of-it", "me", tmp_path)
    host = said["HostConfig"]
    assert (said["Image"], said["Entrypoint"], said["Cmd"], said["User"]) == (
        "id-of-it",
        ["run", "it"],
        [],
        "0",
    )
    assert said["Env"] == ["A=1", "S=2"] and said["Hostname"] == "web-0" and said["StopSignal"] == "SIGQUIT"
    assert said["Labels"]["app"] == "web" and said["Labels"][configuration.ID] == "abc.0"
    assert said["NetworkingConfig"] == {
        "EndpointsConfig": {"ours": {"IPAMConfig": {"IPv4Address": "10.1.2.3"}}}
    }
    assert host["NetworkMode"] == "ours" and host["UsernsMode"] == "host"
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"], host["CpuQuota"]) == (7, 7, 3, 50_000)
    assert host["SecurityOpt"] == ["no-new-privileges:true", "seccomp=unconfined", "apparmor=strict"]
    assert [mount["Target"] for mount in host["Mounts"]] == ["/etc/hosts", "/t"]  # the app's own wins
    assert host["Mounts"][1]["TmpfsOptions"] == {"SizeBytes": 5, "Mode": 0o700}


def test_who_joins_a_network_has_no_place_of_its_own(tmp_path: Path) -> None:
    spec = ContainerSpec(id="abc.0", args=("x",), network="ours", ip="10.1.2.3", hostname="web-0")
    said = configuration.body(spec, "i", "me", tmp_path, "holder")
    assert said["HostConfig"]["NetworkMode"] == "container:holder"
    assert said["Hostname"] == "" and said["NetworkingConfig"] == {}
    with pytest.raises(Unsupported):
        configuration.body(ContainerSpec(id="a.0", args=("x",), netns="/n"), "i", "me", tmp_path)


@pytest.mark.parametrize(("machine", "kind"), [("x86_64", 62), ("aarch64", 183)])
def test_the_waiting_program_is_an_executable(machine: str, kind: int) -> None:
    program = waiting_program(machine)
    entry, (size,) = struct.unpack_from("<Q", program, 24)[0], struct.unpack_from("<Q", program, 96)
    assert program[:4] == b"\x7fELF" and struct.unpack_from("<H", program, 18)[0] == kind
    assert size == len(program) and entry == 0x400000 + 120
    with pytest.raises(Unsupported):
        waiting_program("pdp11")
