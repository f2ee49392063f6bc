"""What a webhook's request says: its signature, its body, and by what it is known when it comes again."""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import parse_qs

import msgspec
from starlette.datastructures import Headers

from hivemind.errors import Invalid
from hivemind.security.hmac import verify

HUB_SIGNATURE, SIGNATURE, TIMESTAMP = "x-hub-signature-256", "x-hivemind-signature", "x-hivemind-timestamp"
DELIVERY = ("x-github-delivery", "x-hivemind-notice", "idempotency-key")
"""Headers that name a delivery: the first of them counts."""
TOLERANCE = 300
"""Seconds that a timestamp may be off."""
_NAME_LIMIT = 200
_FIELDS_LIMIT = 1000


def genuine(key: bytes, headers: Headers, body: bytes, now: float) -> bool:
    """Whether somebody who has the key sent it, and, where it says when, sent it just now.

    `X-Hub-Signature-256` is over the body. `X-Hivemind-Signature` is, too, or over `<timestamp>.<body>` when there is
    an `X-Hivemind-Timestamp`. Of both, both must be right."""
    timestamp = headers.get(TIMESTAMP, "")
    if timestamp and not _recent(timestamp, now):
        return False
    given = [(headers.get(HUB_SIGNATURE), ""), (headers.get(SIGNATURE), timestamp)]
    verdicts = [verify(key, signature, body, stamp) for signature, stamp in given if signature is not None]
    return bool(verdicts) and all(verdicts)


def _recent(timestamp: str, now: float) -> bool:
    return timestamp.isascii() and timestamp.isdigit() and abs(int(timestamp[:12]) - now) <= TOLERANCE


def event_key(headers: Headers, body: bytes, event: object) -> str:
    """What the same delivery has again. Without an id and a timestamp two requests are two events, however alike.

    No signature covers the headers that name a delivery. So of a request with a timestamp they count only if the signed
    body says the same: otherwise whoever has recorded it could send it again under another name."""
    stamped = headers.get(TIMESTAMP) and headers.get(SIGNATURE)
    for name in DELIVERY:
        if given := headers.get(name):
            if len(given) > _NAME_LIMIT or not given.isascii():
                raise Invalid(f"{name} is too long or not ASCII", hint="send up to 200 letters and digits")
            if not stamped or (isinstance(event, dict) and event.get("id") == given):
                return given
    if stamped:
        return hashlib.sha256(f"{headers[TIMESTAMP]}.".encode() + body).hexdigest()
    return secrets.token_hex(16)


def event_of(content_type: str, body: bytes) -> object:
    """The body as `event`: JSON as it is, forms as an object of texts (lists where a name is repeated), else text."""
    media = content_type.partition(";")[0].strip().lower()
    if not body:
        return {}
    if media == "application/json" or media.endswith("+json"):
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Invalid(f"the body is not JSON: {error}") from None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Invalid(
            "the body is neither JSON nor text", hint="send JSON, a form, or text in UTF-8"
        ) from None
    if media == "application/x-www-form-urlencoded":
        return _form(text)
    return text


def _form(text: str) -> dict[str, object]:
    try:
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=_FIELDS_LIMIT)
    except ValueError:
        raise Invalid(f"the form has more than {_FIELDS_LIMIT} fields") from None
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
