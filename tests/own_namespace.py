"""Runs a test in a forked child with a network and a mount namespace of its own.

Set-up, test and tear-down all happen in the child. Whatever the test leaves behind, even when it is killed,
goes with its namespaces; the machine's own links, routes and rules are out of its reach. What the parent has set
up for several tests is the parent's to tear down.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import traceback
import warnings
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

_NEW_NAMESPACES = 0x40000000 | 0x00020000
_PRIVATE_RECURSIVELY = (1 << 18) | 0x4000


def run_isolated(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """To be called by a `pytest_runtest_protocol` hook; always handles the item."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    item.config._tmp_path_factory.getbasetemp()  # Once for all children, instead of one more for each.
    for report in _reports(item, nextitem):
        item.ihook.pytest_runtest_logreport(report=report)
    # What tests before this one had set up for its module ends here, if the next one is in another.
    item.session._setupstate.teardown_exact(nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _reports(item: pytest.Item, nextitem: pytest.Item | None) -> list[Any]:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Of forking beside the threads of earlier tests.
        child = os.fork()
    if child == 0:
        os.close(reading)
        _run_child(item, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        hook = item.config.hook
        return [hook.pytest_report_from_serializable(config=item.config, data=d) for d in pickle.loads(said)]
    text = (
        f"the isolated child ended with {os.waitstatus_to_exitcode(status)}\n{said.decode(errors='replace')}"
    )
    call = pytest.CallInfo.from_call(lambda: pytest.fail(text, pytrace=False), "call")
    return [item.ihook.pytest_runtest_makereport(item=item, call=call)]


class _Inherited:
    """Stands for the next test: what was set up before the fork stays."""

    def __init__(self, item: pytest.Item) -> None:
        self._nodes = list(item.session._setupstate.stack)

    def listchain(self) -> list[Any]:
        return self._nodes


def _run_child(item: pytest.Item, writing: int) -> None:
    code = 1
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEW_NAMESPACES) or libc.mount(b"none", b"/", None, _PRIVATE_RECURSIVELY, None):
            raise OSError(ctypes.get_errno(), "cannot make namespaces; this test needs root")
        inherited: Any = _Inherited(item)
        reports = runtestprotocol(item, log=False, nextitem=inherited)
        hook = item.config.hook
        data = [hook.pytest_report_to_serializable(config=item.config, report=r) for r in reports]
        said, code = pickle.dumps(data), 0
    except BaseException:
        said = traceback.format_exc().encode()
    with open(writing, "wb") as pipe:
        pipe.write(said)
    os._exit(code)
