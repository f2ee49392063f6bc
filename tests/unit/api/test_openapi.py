"""The API's description of itself: complete, valid, and true under fuzzing."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import jsonschema_rs
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.control import SkipTest

from hivemind.api.openapi import describe
from hivemind.api.table import endpoints
from hivemind.errors import HivemindError, WrongMethod, _tree
from hivemind.model.registry import RESOURCES
from tests.unit.api.backend import ADMIN
from tests.unit.api.conftest import Running

DOCUMENT: dict[str, Any] = describe(endpoints(), "0.1.0")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_endpoint_is_described_once() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    described = {(path, method) for path, method, _ in operations()}
    for endpoint in endpoints():
        method = "get" if endpoint.method == "WEBSOCKET" else endpoint.method.lower()
        assert (endpoint.path.replace(":path}", "}"), method) in described


def test_every_resource_has_its_routes() -> None:
    for resource in RESOURCES.values():
        scope = "/v1/projects/{project}" if resource.scope == "project" else "/v1"
        one = DOCUMENT["paths"][f"{scope}/{resource.plural}/{{name}}"]
        assert "get" in DOCUMENT["paths"][f"/v1/{resource.plural}"] and "get" in one
        assert ("put" in one) == (resource.manifest is not None)
        assert ("delete" in one) == (resource.deletable or resource.kind == "Image")


def test_every_parameter_answer_and_error_is_described() -> None:
    for path, method, operation in operations():
        named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), path
        assert operation["summary"].endswith(".")
        refusals = [status for status in operation["responses"] if status >= "400"]
        assert refusals, (path, method)
        for status in refusals:
            assert "application/problem+json" in operation["responses"][status]["content"]
        assert operation.get("security") == [] or "401" in operation["responses"]


def test_every_reference_leads_somewhere() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) <= known


def test_every_schema_is_a_schema() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        whole = {**schema, "components": DOCUMENT["components"]}
        jsonschema_rs.Draft202012Validator(whole), name


def test_amounts_may_be_written_as_people_do() -> None:
    memory = DOCUMENT["components"]["schemas"]["Resources"]["properties"]["memory"]
    assert memory["type"] == ["integer", "string"] and memory["examples"] == ["512MiB"]


def test_no_two_errors_share_a_code() -> None:
    tree = _tree(HivemindError)
    assert tree["wrong-method"] is WrongMethod
    assert all(code == error.code for code, error in tree.items())


def test_the_page_for_people_needs_nothing_from_elsewhere(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.server.port or 0, timeout=10)
    connection.request("GET", "/docs")
    response = connection.getresponse()
    page = response.read().decode()
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    connection.request("GET", "/openapi.json")
    assert json.loads(connection.getresponse().read())["paths"].keys() == DOCUMENT["paths"].keys()
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_fuzzed_from_its_own_description(running: Running, mode: GenerationMode) -> None:
    """No answer is a 5xx that we did not mean, none is undescribed, and none breaks its schema."""
    from tests.unit.api.test_streams import deploy

    deploy(running, 1)
    running.do(running.backend.images.hold, "nginx:1")
    running.do(running.backend.happen, 1)
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=running.url)
    schema.config.generation.update(modes=[mode])
    headers = {"Authorization": f"Bearer {ADMIN.token()}"}
    names = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "ignored_auth",
    )
    checks = [CHECKS.get_one(name) for name in names]
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.seed(7)
        @hypothesis.settings(
            max_examples=6,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def fuzz(case: schemathesis.Case) -> None:
            if case.path == "/v1/events":
                case.query = {**(case.query or {}), "follow": "false"}  # the stream has no end
            case.call_and_validate(headers=headers, checks=checks, timeout=10)

        try:
            fuzz()
        except (hypothesis.errors.Unsatisfiable, SkipTest):
            continue  # nothing invalid can be made for an operation without parameters
        seen.add(operation.label)
    assert len(seen) > 20
