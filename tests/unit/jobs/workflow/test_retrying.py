"""The delay before a further attempt."""

from __future__ import annotations

import pytest

from hivemind.jobs.workflow.retrying import delay
from hivemind.model.job import Retry
from hivemind.model.run import TaskRun


def waits(retry: Retry, *, times: int = 6) -> list[int]:
    return [delay(retry, TaskRun(run="r", path="a", attempt=n + 1, spent=n)) for n in range(times)]


@pytest.mark.parametrize(
    ("retry", "milliseconds"),
    [
        (Retry(delay=1), [1000, 2000, 4000, 8000, 16000, 32000]),
        (Retry(delay=0.25, backoff=1), [250] * 6),
        (Retry(delay=2, backoff=10, max_delay=60), [2000, 20000, 60000, 60000, 60000, 60000]),
        (Retry(delay=0), [0] * 6),
    ],
)
def test_it_grows_up_to_the_most(retry: Retry, milliseconds: list[int]) -> None:
    assert waits(retry) == milliseconds


def test_a_thousand_attempts_do_not_overflow() -> None:
    assert waits(Retry(max=1000, backoff=100), times=1000)[-1] == 300_000


def test_jitter_shortens_it_and_is_the_same_everywhere() -> None:
    found = waits(Retry(delay=10, backoff=1, jitter=0.5), times=40)
    assert found == waits(Retry(delay=10, backoff=1, jitter=0.5), times=40)
    assert len(set(found)) > 30
    assert all(5000 <= each <= 10_000 for each in found)
    assert max(found) - min(found) > 3000
