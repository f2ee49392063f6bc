"""Errors that travel: each is raised on the other side as what it was."""

from __future__ import annotations

from hivemind.drivers.volumes.commands import Failed
from hivemind.errors import Forbidden, HivemindError, NotFound, from_code


def test_an_error_is_known_by_its_code() -> None:
    assert type(from_code("forbidden", "no")) is Forbidden
    assert type(from_code("not-found", "no")) is NotFound
    assert type(from_code("of a later version", "no")) is HivemindError


def test_a_kind_without_a_code_of_its_own_does_not_stand_for_its_parent() -> None:
    assert Failed.code == HivemindError.code
    error = from_code(Failed.code, "it broke", "see the log")
    assert (type(error), error.message, error.hint) == (HivemindError, "it broke", "see the log")
