"""Whatever is sent as a definition, it is read or its mistakes are told; nothing else ever happens."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivemind.jobs.definition import findings
from hivemind.jobs.definition.words import JOB_SUGAR, TASK_SUGAR
from hivemind.model.job import (
    Input,
    JobManifest,
    JobSpec,
    Notify,
    Retry,
    Routine,
    Schedule,
    Step,
    Task,
    Triggers,
    Webhook,
)

KINDS = (JobManifest, JobSpec, Task, Step, Routine, Input, Retry, Triggers, Schedule, Webhook, Notify)
KEYS = sorted({field.encode_name for kind in KINDS for field in msgspec.structs.fields(kind)})
WORDS = ["a", "b", "success", "failure", "5m", "${{ inputs.a }}", "${{ needs.a.outputs.b }}", "a && b", "0 2 * * *",
         "x: y", "exit:3", "string", "high", "data:/data:ro", "K=V", "f@2", "", "${{", "sh 'x", "\0"]  # fmt: skip
KEY = st.sampled_from([*KEYS, *TASK_SUGAR, *JOB_SUGAR, "a", "b", "kind", "secret", "key"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**12),
    st.floats(allow_nan=False),
    st.sampled_from(WORDS),
    st.text(max_size=4),
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEY, inner, max_size=4)),
    max_leaves=25,
)
TASKS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.dictionaries(KEY, ANY, max_size=4) | ANY, max_size=3
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    st.dictionaries(KEY, ANY, max_size=5),
    TASKS,
    st.dictionaries(st.sampled_from(["a", "r"]), ANY, max_size=2),
)
def test_nothing_but_findings(beside: dict[str, Any], tasks: Any, routines: Any) -> None:
    raw = {"name": "j", **beside, "tasks": tasks, "routines": routines}
    raw.pop("spec", None)
    manifest, found = findings(raw)
    assert found or manifest is not None
    for one in found:
        assert one.message
        assert one.place is not None


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANY)
def test_nothing_but_findings_of_anything(raw: Any) -> None:
    manifest, found = findings(raw)
    assert found or manifest is not None
