"""A notice as an e-mail, in plain text."""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.utils import formatdate
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from hivemind.agent.notices.contract import TIMEOUT, Resolve, Undelivered
from hivemind.agent.notices.wording import details, headline
from hivemind.model.notice import Notice

if TYPE_CHECKING:
    import smtplib
    import ssl

_PORTS = {"smtp": 25, "smtps": 465}


def deliver(notice: Notice, resolve: Resolve) -> None:
    """It is told as delivered when the server took it for at least one of the addresses."""
    import smtplib

    server = _server(resolve(notice.to.smtp or ""))
    host = server.hostname or ""
    try:
        with _connected(server) as connection:
            if server.username:
                connection.login(unquote(server.username), unquote(server.password or ""))
            connection.send_message(mail(notice))
    except smtplib.SMTPRecipientsRefused:
        raise Undelivered(f"{host} takes mail for none of the addresses") from None
    except smtplib.SMTPResponseException as error:
        # Not what it said: a server may repeat what it was told.
        raise Undelivered(f"{host} refused with {error.smtp_code}") from None
    except smtplib.SMTPException as error:
        raise Undelivered(f"{host} could not be talked to: {type(error).__name__}") from None
    except TimeoutError:
        raise Undelivered(f"{host} did not answer within {TIMEOUT:.0f} s") from None
    except OSError as error:
        raise Undelivered(f"{host} cannot be reached: {error.strerror or type(error).__name__}") from None


def mail(notice: Notice) -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = _one_line(f"[hivemind] {headline(notice)}")
    made["From"] = _one_line(notice.to.sender)
    made["To"] = ", ".join(_one_line(address) for address in notice.to.email)
    made["Date"] = formatdate(notice.created / 1000)
    made["Message-ID"] = f"<{notice.id}@hivemind>"
    made["Auto-Submitted"] = "auto-generated"
    made["X-Hivemind-Notice"] = notice.id
    made.set_content("\n".join([headline(notice), "", *details(notice), ""]))
    return made


def _server(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in _PORTS and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise Undelivered("the address of the mail server is no smtp:// or smtps:// URL")
    return parts


def _connected(server: SplitResult) -> smtplib.SMTP:
    """Encrypted where the server can be; a password never goes out in the clear."""
    import smtplib
    import ssl

    host, port = server.hostname or "", server.port or _PORTS[server.scheme]
    if server.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=ssl.create_default_context())
    connection = smtplib.SMTP(host, port, timeout=TIMEOUT)
    try:
        connection.ehlo_or_helo_if_needed()
        if connection.has_extn("starttls"):
            connection.starttls(context=_trust(host))
            connection.ehlo()
        elif server.username and not _local(host):
            raise Undelivered(f"{host} offers no encryption, and the password is not sent without")
    except BaseException:
        connection.close()
        raise
    return connection


def _trust(host: str) -> ssl.SSLContext:
    """A mail server on this machine has seldom a certificate for that."""
    import ssl

    context = ssl.create_default_context()
    if _local(host):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _local(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _one_line(text: str) -> str:
    return re.sub(r"[\r\n]+", " ", text)
