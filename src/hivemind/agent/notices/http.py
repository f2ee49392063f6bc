"""One POST of JSON, and whether it was taken."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import hivemind
from hivemind.agent.notices.contract import TIMEOUT, Undelivered

_ANSWER_LIMIT = 4096


def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Raises `Undelivered` unless the answer is of the class 2xx. Redirects are not followed: what was agreed is told
    to whom it was agreed to tell."""
    import http.client
    import ssl

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https"):
        raise Undelivered("its address is no http:// or https:// URL")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    sent = {"Content-Type": "application/json", "User-Agent": f"hivemind/{hivemind.__version__}", **headers}
    if parts.username:
        account = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        sent["Authorization"] = f"Basic {base64.b64encode(account).decode()}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, body, sent)
        answer = connection.getresponse()
        answer.read(_ANSWER_LIMIT)
    except ssl.SSLCertVerificationError as error:
        raise Undelivered(f"the certificate of {host} is not good: {error.verify_message}") from None
    except (http.client.HTTPException, ValueError) as error:
        # Not its text: that may quote the address, which may be the secret.
        raise Undelivered(f"{host} was not understood: {type(error).__name__}") from None
    except TimeoutError:
        raise Undelivered(f"{host} did not answer within {TIMEOUT:.0f} s") from None
    except OSError as error:
        raise Undelivered(f"{host} cannot be reached: {error.strerror or type(error).__name__}") from None
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise Undelivered(f"{host} answered {answer.status}")
