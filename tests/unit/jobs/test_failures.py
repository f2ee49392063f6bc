"""The words of `Retry.on` and `Circuit.on`."""

from __future__ import annotations

import pytest

from hivemind.errors import Invalid
from hivemind.jobs.book import Ended
from hivemind.jobs.failures import check, matches


@pytest.mark.parametrize(
    ("word", "how", "meant"),
    [
        ("exit", Ended(exit_code=1), True),
        ("exit", Ended(cause="signal", exit_code=137), False),
        ("exit:3", Ended(exit_code=3), True),
        ("exit:3", Ended(exit_code=33), False),
        ("exit:10-19", Ended(exit_code=19), True),
        ("exit:10-19", Ended(exit_code=20), False),
        ("exit:137", Ended(cause="signal", exit_code=137), False),
        ("signal", Ended(cause="signal", exit_code=137), True),
        ("signal:KILL", Ended(cause="signal", exit_code=137), True),
        ("signal:SIGTERM", Ended(cause="signal", exit_code=143), True),
        ("signal:TERM", Ended(cause="signal", exit_code=137), False),
        ("oom", Ended(cause="oom"), True),
        ("timeout", Ended(cause="timeout"), True),
        ("start", Ended(cause="start"), True),
        ("start", Ended(exit_code=1), False),
        ("exit_code > 2 && attempt < 3", Ended(exit_code=5), True),
        ("signal == 'KILL'", Ended(cause="signal", exit_code=137), True),
        ("contains(reason, 'refused')", Ended(exit_code=1, reason="connection refused"), True),
        ("exit_code > 2", Ended(cause="start"), False),
    ],
)
def test_what_a_word_means(word: str, how: Ended, meant: bool) -> None:
    check(word)
    assert matches([word], how, 1) is meant
    assert not matches([], how, 1)


@pytest.mark.parametrize(
    "word", ["exit:", "exit:x", "exit:1000", "signal:NONE", "signal:9", "exit_code >", ""]
)
def test_what_is_no_word(word: str) -> None:
    with pytest.raises(Invalid):
        check(word)
