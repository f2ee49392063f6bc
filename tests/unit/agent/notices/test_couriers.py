"""Webhook, Slack and e-mail, against real servers on loopback."""

from __future__ import annotations

import email
import json
import socket
import ssl
import time
from typing import Any

import pytest
from starlette.datastructures import Headers

from hivemind.agent.notices import slack, smtp, webhook
from hivemind.agent.notices.contract import Undelivered
from hivemind.api.jobs.deliveries import genuine
from hivemind.model.job import Notify
from hivemind.model.notice import Notice
from tests.unit.agent.notices.servers import Mail, Web, serving

SECRETS = {"secret:hook/url": "", "secret:hook/key": "k3y", "secret:mail/url": ""}


def plain(text: str) -> str:
    return SECRETS.get(text, text)


def notice(to: Notify, on: str = "failed", **more: Any) -> Notice:
    payload = {
        "id": "n1", "event": "run.failed", "run": "nightly-7", "reason": "exit code 3", "started": 1_700_000_000_000,
        "failed_tasks": [{"path": "train", "state": "failed", "reason": "exit code 3"}], **more,
    }  # fmt: skip
    return Notice(id="n1", project="shop", run="r1", run_name="nightly-7", on=on, to=to, payload=payload)


def test_a_webhook_gets_the_payload_and_the_id() -> None:
    with serving(web := Web()):
        webhook.deliver(notice(Notify(webhook=f"{web.url}/hooks/a?b=c")), plain)
    [posted] = web.posted
    assert posted.path == "/hooks/a?b=c"
    assert json.loads(posted.body)["run"] == "nightly-7"
    assert posted.headers["x-hivemind-notice"] == posted.headers["idempotency-key"] == "n1"
    assert posted.headers["x-hivemind-event"] == "run.failed"
    assert "x-hivemind-signature" not in posted.headers


def test_a_signed_webhook_is_one_that_our_own_webhooks_take() -> None:
    with serving(web := Web()):
        webhook.deliver(notice(Notify(webhook=web.url, signed_with="secret:hook/key")), plain)
    [posted] = web.posted
    assert genuine(b"k3y", Headers(posted.headers), posted.body, time.time())
    assert not genuine(b"other", Headers(posted.headers), posted.body, time.time())


@pytest.mark.parametrize("status", [301, 307, 400, 404, 410, 500, 503])
def test_whatever_is_not_2xx_is_not_delivered_and_not_followed(status: int) -> None:
    with serving(web := Web()):
        web.status = status
        with pytest.raises(Undelivered, match=f"127.0.0.1 answered {status}"):
            webhook.deliver(notice(Notify(webhook=web.url)), plain)
        assert len(web.posted) == 1


def test_an_address_that_is_a_secret_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    for url in (
        f"http://user:s3cret@127.0.0.1:{port}/s3cret",
        "s3cret",
        "http://[s3cret/",
        "http://127.0.0.1/ s3cret",
    ):
        monkeypatch.setitem(SECRETS, "secret:hook/url", url)
        for courier, to in (
            (webhook, Notify(webhook="secret:hook/url")),
            (slack, Notify(slack="secret:hook/url")),
        ):
            with pytest.raises(Undelivered) as refused:
                courier.deliver(notice(to), plain)
            assert "s3cret" not in str(refused.value)
            assert refused.value.__cause__ is None
    monkeypatch.setitem(SECRETS, "secret:mail/url", f"smtp://user:s3cret@127.0.0.1:{port}")
    with pytest.raises(Undelivered) as refused:
        smtp.deliver(notice(Notify(email=("a@b.c",), smtp="secret:mail/url")), plain)
    assert "s3cret" not in str(refused.value)


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivemind.agent.notices.http.TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Undelivered, match="did not answer within"):
            webhook.deliver(notice(Notify(webhook=url)), plain)


def test_what_does_not_speak_http_or_tls() -> None:
    with serving(mail := Mail()):
        with pytest.raises(Undelivered, match="not understood"):
            webhook.deliver(notice(Notify(webhook=f"http://127.0.0.1:{mail.port}")), plain)
        with pytest.raises(Undelivered, match="cannot be reached"):
            webhook.deliver(notice(Notify(webhook=f"https://127.0.0.1:{mail.port}")), plain)


def test_slack_gets_text_and_blocks_in_which_nothing_calls_anybody() -> None:
    with serving(web := Web()):
        slack.deliver(notice(Notify(slack=web.url), reason="<!channel> & more"), plain)
    message = json.loads(web.posted[0].body)
    assert message["text"] == ":red_circle: nightly-7 failed (shop)"
    assert all(block["type"] == "section" for block in message["blocks"])
    text = json.dumps(message)
    assert "<!channel>" not in text and "&lt;!channel&gt; &amp; more" in text
    assert "hivemind job logs nightly-7 --project shop" in text


def test_slack_takes_no_more_than_it_takes() -> None:
    message = slack.message(notice(Notify(slack="x"), reason="x" * 9000))
    blocks: Any = message["blocks"]
    assert all(len(block["text"]["text"]) <= 3000 for block in blocks)


def test_mail() -> None:
    with serving(mail := Mail()):
        to = Notify(
            email=("ops@example.org", "ada@example.org"),
            smtp=f"smtp://127.0.0.1:{mail.port}",
            sender="hm@x.org",
        )
        smtp.deliver(notice(to), plain)
    [(sender, recipients, text)] = mail.taken
    assert (sender, recipients) == ("hm@x.org", ["ops@example.org", "ada@example.org"])
    read = email.message_from_string(text)
    assert read["Subject"] == "[hivemind] nightly-7 failed (shop)"
    assert read["Message-ID"] == "<n1@hivemind>"
    body = str(read.get_payload())
    assert "task train failed: exit code 3" in body
    assert "started 2023-11-14 22:13:20 UTC" in body


def test_mail_signs_in_where_it_must() -> None:
    with serving(mail := Mail(login=True)):
        to = Notify(email=("ops@example.org",), smtp=f"smtp://u%40x:p%2Fw@localhost:{mail.port}")
        smtp.deliver(notice(to), plain)
    [login] = mail.logins
    assert login.startswith("PLAIN ") and len(mail.taken) == 1


def test_mail_that_nobody_takes() -> None:
    with serving(mail := Mail()):
        mail.refused = {"gone@example.org"}
        url = f"smtp://127.0.0.1:{mail.port}"
        with pytest.raises(Undelivered, match="none of the addresses"):
            smtp.deliver(notice(Notify(email=("gone@example.org",), smtp=url)), plain)
        smtp.deliver(notice(Notify(email=("gone@example.org", "ada@example.org"), smtp=url)), plain)
    assert [recipients for _, recipients, _ in mail.taken] == [["ada@example.org"]]


def test_a_job_cannot_put_headers_into_mail() -> None:
    bad = notice(Notify(email=("a@b.c",), sender="x@y.z\r\nBcc: everyone@b.c"))
    made = smtp.mail(bad)
    assert made["Bcc"] is None


@pytest.mark.parametrize("url", ["mail.example.org", "http://x", "smtp://", "smtp://x:99999"])
def test_no_mail_server_at_all(url: str) -> None:
    with pytest.raises(Undelivered, match="no smtp"):
        smtp.deliver(notice(Notify(email=("a@b.c",), smtp=url)), plain)


def test_a_certificate_that_is_not_good_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        error = ssl.SSLCertVerificationError("s3cret")
        error.verify_message = "it has expired"
        raise error

    monkeypatch.setattr("http.client.HTTPSConnection.connect", refuse)
    with pytest.raises(Undelivered, match="is not good: it has expired"):
        webhook.deliver(notice(Notify(webhook="https://example.com/s3cret")), plain)
