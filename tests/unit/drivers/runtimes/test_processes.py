"""What /proc tells of processes, and what it must not do to a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from hivemind.drivers.runtimes.processes import processes


def test_a_process_is_told_as_it_is() -> None:
    began = time.time() * 1000
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", "two words", "\x1b[31mred"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        try:
            assert child.stdout and child.stdout.readline()  # while it is being loaded it has no command line
            listed = processes([os.getpid(), child.pid, child.pid])
        finally:
            child.kill()
    # In the order of their numbers, which begin anew when the kernel has used them all.
    assert [each.pid for each in listed] == sorted({os.getpid(), child.pid})
    by_pid = {each.pid: each for each in listed}
    me, told = by_pid[os.getpid()], by_pid[child.pid]
    assert (told.pid, told.parent, told.user) == (child.pid, os.getpid(), str(os.getuid()))
    assert told.command.endswith("two words ?[31mred")
    assert abs(told.started - began) < 2000
    assert me.memory > 1_000_000 and me.cpu_seconds > 0 and me.started < told.started


def test_names_are_asked_for_and_the_gone_are_left_out() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    (only,) = processes([child.pid, os.getpid()], name_of=lambda uid: f"user{uid}")
    assert only.user == f"user{os.geteuid()}"


def test_a_zombie_has_its_name_in_brackets() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        (told,) = processes([child.pid])
    finally:
        child.wait()
    assert told.state == "Z" and told.command == "[true]"
