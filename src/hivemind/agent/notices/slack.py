"""A notice to Slack, or to whatever takes what Slack's incoming webhooks take."""

from __future__ import annotations

from hivemind.agent.notices.contract import Resolve
from hivemind.agent.notices.http import post
from hivemind.agent.notices.wording import details, headline, next_step
from hivemind.model.base import encode
from hivemind.model.notice import Notice

_TEXT_LIMIT = 2900
"""Characters; of a section Slack takes 3000."""
_SIGNS = {
    "failed": ":red_circle:",
    "timed out": ":red_circle:",
    "late": ":hourglass:",
    "succeeded": ":white_check_mark:",
}


def deliver(notice: Notice, resolve: Resolve) -> None:
    post(resolve(notice.to.slack or ""), encode(message(notice)), {"Idempotency-Key": notice.id})


def message(notice: Notice) -> dict[str, object]:
    sign, head = _SIGNS.get(notice.on, ":bell:"), _escaped(headline(notice))
    said = "\n".join(_escaped(line) for line in details(notice)[:-1])[:_TEXT_LIMIT]
    body = [_section(said)] if said else []
    return {
        "text": f"{sign} {head}",
        "blocks": [_section(f"{sign} *{head}*"), *body, _section(f"`{_escaped(next_step(notice))}`")],
    }


def _section(text: str) -> dict[str, object]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _escaped(text: str) -> str:
    """Nothing in it calls people or makes links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
