"""Webhooks: whoever has the key of a job's webhook may start it, without a token.

Nobody learns from a refusal which projects, jobs or webhooks there are: whatever is wrong, the answer is the same.
"""

from __future__ import annotations

import secrets
import time

from starlette.responses import Response

from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.intake import upload
from hivemind.api.jobs.deliveries import (
    DELIVERY,
    HUB_SIGNATURE,
    SIGNATURE,
    TIMESTAMP,
    event_key,
    event_of,
    genuine,
)
from hivemind.api.jobs.raising import started
from hivemind.api.jobs.suspects import Suspects
from hivemind.errors import Conflict, HivemindError, NotFound, TooLarge, Unauthenticated
from hivemind.model.job import Webhook
from hivemind.model.job_answers import RaisedDocument
from hivemind.state.opened import open_secret
from hivemind.state.operations import RaiseEvent

_BODY_LIMIT = 256 * 1024
"""Bytes as they are sent; the event that they become may have 64 KiB."""
_suspects = Suspects()


async def _deliver(call: Call) -> Response:
    request = call.request
    who = request.client.host if request.client else ""
    _suspects.check(who)
    body = b"".join([piece async for piece in upload(request, call.settings, _BODY_LIMIT)])
    webhook, key = _expected(call)
    if not genuine(key, request.headers, body, time.time()) or webhook is None:
        _suspects.note(who)
        raise _refused()
    event = event_of(request.headers.get("content-type", ""), body)
    operation = RaiseEvent(
        project=call.params["project"],
        type="webhook",
        job=call.params["job"],
        source=webhook.name,
        payload=event,
        key=event_key(request.headers, body, event),
    )
    try:
        outcome = await call.backend.report(operation)
        outcome.raise_for_error()
    except NotFound:
        raise _refused() from None  # It was removed meanwhile.
    return reply(started(call.state, outcome), 202)


def _expected(call: Call) -> tuple[Webhook | None, bytes]:
    """The webhook and its key. Of one that is not there the key is nobody's, so that a refusal takes as long."""
    webhook = _webhook(call)
    if webhook is not None:
        project = call.params["project"]
        try:
            key = open_secret(call.state, call.backend.vault, project, webhook.secret, webhook.key)
        except HivemindError:
            key = b""
        if stripped := key.rstrip(b"\r\n"):
            return webhook, stripped
    return None, secrets.token_bytes(32)


def _webhook(call: Call) -> Webhook | None:
    job = call.state.find_job(call.params["project"], call.params["job"])
    hooks = call.state.job_spec(job).triggers.webhook if job else ()
    wanted = call.params.get("name", "default")
    return next((hook for hook in hooks if hook.name == wanted), None)


def _refused() -> Unauthenticated:
    return Unauthenticated(
        "this webhook is not known, or the signature is not right",
        hint=f"sign the body with HMAC-SHA256 and send sha256=<hexadecimal> in {SIGNATURE} or {HUB_SIGNATURE}",
    )


def hook_endpoints() -> list[Endpoint]:
    path = "/v1/hooks/{project}/{job}"
    return [
        Endpoint(
            "POST", there, name, text, _deliver,
            (Answer(202, "The runs that it started, or had started before.", (RaisedDocument,)),),
            upload=("application/json", "application/x-www-form-urlencoded", "text/plain"),
            headers=(HUB_SIGNATURE, SIGNATURE, TIMESTAMP, *DELIVERY),
            errors=(Unauthenticated, Conflict, TooLarge), open=True,
        )
        for there, name, text in (
            (f"{path}/{{name}}", "hooks.deliver", "Start a job by a signed request."),
            (path, "hooks.deliver_default", "The same by the webhook called `default`."),
        )
    ]  # fmt: skip
