"""A notice as a webhook: its payload as JSON, known by its id when it comes a second time."""

from __future__ import annotations

import time

from hivemind.agent.notices.contract import Resolve
from hivemind.agent.notices.http import post
from hivemind.model.base import encode
from hivemind.model.notice import Notice
from hivemind.security.hmac import sign


def deliver(notice: Notice, resolve: Resolve) -> None:
    """With a key, `X-Hivemind-Signature` is over `<X-Hivemind-Timestamp>.<body>`: our own webhooks take it so."""
    body = encode(notice.payload)
    headers = {
        "X-Hivemind-Notice": notice.id,
        "Idempotency-Key": notice.id,
        "X-Hivemind-Event": str(notice.payload.get("event", "")),
    }
    if notice.to.signed_with:
        stamp = str(int(time.time()))
        key = resolve(notice.to.signed_with).encode()
        headers |= {"X-Hivemind-Timestamp": stamp, "X-Hivemind-Signature": sign(key, body, stamp)}
    post(resolve(notice.to.webhook or ""), body, headers)
