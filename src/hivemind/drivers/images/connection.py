"""HTTP to one registry: TLS, redirects, and whichever of anonymous, basic and bearer sign-in it asks for."""

from __future__ import annotations

import base64
import http.client
import io
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO
from urllib.parse import SplitResult, unquote, urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from hivemind.drivers.images.access import Access, is_loopback
from hivemind.drivers.images.tarball import CHUNK
from hivemind.errors import Forbidden, Invalid, NotFound, TimedOut, TooLarge, Unauthenticated, Unavailable

REDIRECTS = 5
TOKEN_LIMIT = 2**20
CLIENT = "hivemind"
_CHALLENGE = re.compile(r'([a-zA-Z_]+)="([^"]*)"')


class Cut(Exception):
    """The connection broke while a body was on its way."""


class Sending(msgspec.Struct, frozen=True):
    """A body that can be sent again, should the registry first ask to sign in."""

    size: int
    open: Callable[[], IO[bytes]]


class Response:
    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self._raw = raw
        self.status = raw.status

    def header(self, name: str) -> str:
        return self._raw.headers.get(name, "")

    def read(self, size: int) -> bytes:
        """b"" at the end. Raises `Cut`."""
        try:
            return self._raw.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Cut(str(error) or type(error).__name__) from error

    def read_all(self, limit: int) -> bytes:
        """A short answer. Raises `TooLarge`, and `Unavailable` when it does not arrive whole."""
        try:
            data = self._raw.read(limit + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"the registry's answer broke off: {error or type(error).__name__}", hint="try again"
            ) from error
        if len(data) > limit:
            raise TooLarge(f"the registry's answer is longer than {limit} bytes")
        if self._raw.length:
            raise Unavailable("the registry's answer broke off", hint="try again")
        return data


class RegistryConnection:
    """Requests about one repository. Safe to use from several threads: each request has its own connection."""

    def __init__(self, access: Access, repository: str, what: str, *, action: str = "pull") -> None:
        """`what`: for messages, the image; `action`: `pull`, or `push`."""
        self.host = access.host
        self.repository = repository
        self.what = what
        self.access = access
        self.action = action
        self._lock = threading.Lock()
        self._authorization = ""
        self._tls: ssl.SSLContext | None = None
        self._scheme = ""

    def sign_in(self) -> None:
        """Asks for nothing but to be let in. Raises `Unauthenticated` and as `ask`."""
        with self.ask("GET", f"{self._root()}/v2/"):
            pass

    @contextmanager
    def get(self, path: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """A successful answer about a path of the repository."""
        with self.ask("GET", path, headers) as response:
            yield response

    @contextmanager
    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Sending | None = None,
    ) -> Iterator[Response]:
        """A successful answer; signs in when asked to, once more when that has expired meanwhile. `path`: within
        the repository, or a whole URL. Raises what a person can act upon."""
        url = urljoin(f"{self._root()}/v2/{self.repository}/", path)
        with self._follow(method, url, {**(headers or {}), **self._signed()}, body) as response:
            if response.status != 401:
                self._check(response)
                yield response
                return
            challenge = response.header("WWW-Authenticate")
        self._answer_challenge(challenge)
        with self._follow(method, url, {**(headers or {}), **self._signed()}, body) as response:
            self._check(response)
            yield response

    def _signed(self) -> dict[str, str]:
        with self._lock:
            return {"Authorization": self._authorization} if self._authorization else {}

    def _check(self, response: Response) -> None:
        status = response.status
        if 200 <= status < 300:
            return
        if status == 401:
            user = self.access.username
            who = f"the user {user!r} and password given" if user else "anyone without an account"
            who = "the identity token given" if self.access.identity_token else who
            raise Unauthenticated(
                f"{self.host} does not let in {who}" + (f" to {self._wish}" if self.what else ""),
                hint=f"sign in with: hivemind registry login {self.host}; also check the image's name",
            )
        if status == 403:
            raise Forbidden(
                f"{self.host} refuses to {self._wish}", hint=f"ask its owner for the right to {self.action}"
            )
        if status == 404:
            raise NotFound(
                f"{self.host} has no image {self.what}" if self.what else f"{self.host} is no image registry",
                hint="check the name and the tag",
            )
        if status == 429:
            raise Unavailable(
                f"{self.host} refuses for now: too many requests",
                hint=f"sign in (hivemind registry login {self.host}) or try again later",
            )
        raise Unavailable(f"{self.host} answered {status} when asked to {self._wish}", hint="try again later")

    @property
    def _wish(self) -> str:
        return f"{self.action} {self.what}" if self.what else "sign in"

    # signing in

    def _answer_challenge(self, challenge: str) -> None:
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "bearer":
            authorization = f"Bearer {self._token(dict(_CHALLENGE.findall(rest)))}"
        elif scheme.lower() == "basic":
            authorization = self._basic()
        else:
            raise Unauthenticated(
                f"{self.host} asks to sign in by {scheme or 'nothing named'!r}, which is unknown here"
            )
        with self._lock:
            self._authorization = authorization

    def _basic(self) -> str:
        pair = f"{self.access.username}:{self.access.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode() if self.access.username else ""

    def _token(self, challenge: dict[str, str]) -> str:
        """Asks the registry's token service for the right to do to this repository what we are about to."""
        realm = challenge.get("realm", "")
        secure = self._root().startswith("https:")
        scheme = self._address(realm).scheme
        if scheme != "https" and not (not secure and scheme == "http"):
            raise Invalid(f"{self.host} names {realm!r} as its token service; a password is not sent there")
        query = {"service": challenge["service"]} if "service" in challenge else {}
        own = f"repository:{self.repository}:{'pull,push' if self.action == 'push' else 'pull'}"
        if scope := challenge.get("scope") or (own if self.repository else ""):
            query["scope"] = scope
        with self._ask_token_service(realm, query) as response:
            self._check(response)
            try:
                answer = msgspec.json.decode(response.read_all(TOKEN_LIMIT), type=_TokenAnswer)
            except msgspec.DecodeError as error:
                raise Unavailable(f"the token service of {self.host} makes no sense: {error}") from error
        return answer.token or answer.access_token

    @contextmanager
    def _ask_token_service(self, realm: str, query: dict[str, str]) -> Iterator[Response]:
        if token := self.access.identity_token:
            form = {"grant_type": "refresh_token", "client_id": CLIENT, "refresh_token": token, **query}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            with self._follow("POST", realm, headers, sending(urlencode(form).encode())) as response:
                yield response
            return
        basic = self._basic()
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        with self._follow("GET", url, {"Authorization": basic} if basic else {}, None) as response:
            yield response

    # requests

    @contextmanager
    def _follow(
        self, method: str, url: str, headers: dict[str, str], body: Sending | None
    ) -> Iterator[Response]:
        """Follows redirects; the sign-in never goes to another host, nor from TLS to plain HTTP."""
        for _ in range(REDIRECTS):
            connection = self._connect(url)
            try:
                raw = self._send(connection, method, url, headers, body)
                if raw.status not in (301, 302, 303, 307, 308) or (
                    method not in ("GET", "HEAD") and raw.status < 307
                ):
                    yield Response(raw)
                    return
                onward = self._address(raw.headers.get("Location", ""), url).geturl()
            finally:
                connection.close()
            if urlsplit(onward)[:2] != urlsplit(url)[:2]:
                headers = {key: value for key, value in headers.items() if key != "Authorization"}
            if urlsplit(url).scheme == "https" and urlsplit(onward).scheme != "https":
                raise Unavailable(f"{self.host} redirects from TLS to {onward!r}, which is not followed")
            url = onward
        raise Unavailable(f"{self.host} redirects in a circle", hint="try again later")

    def _address(self, told: str, base: str = "") -> SplitResult:
        """Where a registry points to. Raises `Unavailable` for what is no address at all."""
        try:
            parts = urlsplit(urljoin(base, told))
            if parts.port == 0 or not told.isprintable() or " " in parts.netloc:
                raise ValueError(told)
        except ValueError:
            raise Unavailable(
                f"{self.host} points to {told[:200]!r}, which is no web address", hint="ask its owner"
            ) from None
        return parts

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Sending | None,
    ) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with _explained(parts.netloc, self.access.timeout):
            if body is None:
                connection.request(method, target, headers=dict(headers))
            else:
                with body.open() as data:
                    length = {"Content-Length": str(body.size)}
                    connection.request(method, target, data, {**headers, **length})
            return connection.getresponse()

    def _connect(self, url: str) -> http.client.HTTPConnection:
        """Straight, or for TLS through the tunnel of the proxy that `HTTPS_PROXY` names, unless `NO_PROXY` says no."""
        parts = urlsplit(url)
        timeout = self.access.timeout
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.netloc, timeout=timeout, blocksize=CHUNK)
        if parts.scheme != "https":
            raise Unavailable(f"{self.host} points to {url!r}, which is no web address")
        proxy = getproxies().get("https", "")
        if not proxy or proxy_bypass(parts.netloc) or is_loopback(parts.netloc):
            return http.client.HTTPSConnection(
                parts.netloc, timeout=timeout, context=self._context(), blocksize=CHUNK
            )
        through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        tunnel = http.client.HTTPSConnection(
            through.hostname or "", through.port or 80, timeout=timeout, context=self._context()
        )
        sign_in = f"{unquote(through.username or '')}:{unquote(through.password or '')}"
        headers = {"Proxy-Authorization": f"Basic {base64.b64encode(sign_in.encode()).decode()}"}
        tunnel.set_tunnel(parts.hostname or "", parts.port or 443, headers if through.username else {})
        return tunnel

    def _root(self) -> str:
        """Scheme and address. Where certificates are not asked for it is tried out whether there is TLS at all."""
        if not self._scheme:
            plain = self.access.unverified and not self._speaks_tls()
            self._scheme = "http" if plain else "https"
        return f"{self._scheme}://{self.access.address}"

    def _speaks_tls(self) -> bool:
        url = f"https://{self.access.address}"
        connection = self._connect(url)
        try:
            with _explained(urlsplit(url).netloc, self.access.timeout):
                connection.connect()
        except Unavailable as error:
            if isinstance(error.__cause__, ssl.SSLError):
                return False
            raise
        finally:
            connection.close()
        return True

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = _trust(self.access)
            return self._tls


def sending(data: bytes) -> Sending:
    return Sending(len(data), lambda: io.BytesIO(data))


def _trust(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if access.unverified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if access.ca:
        try:
            context.load_verify_locations(cadata=access.ca)
        except (OSError, ValueError) as error:
            raise Invalid(
                f"the authority given for {access.host} is no certificate: {error}",
                hint="give a PEM file: hivemind registry login HOST --ca-cert FILE",
            ) from error
    return context


@contextmanager
def _explained(where: str, timeout: float) -> Iterator[None]:
    """Failures of the network as errors that a person can act upon."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(
            f"the certificate of {where} is not trusted: {error.verify_message}",
            hint=f"name its authority: hivemind registry login {where} --ca-cert FILE",
        ) from error
    except TimeoutError as error:
        raise TimedOut(f"{where} did not answer within {timeout:g} s", hint="check the network") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last: for headers that are none
        what = getattr(error, "strerror", "") or error or type(error).__name__
        raise Unavailable(
            f"{where} cannot be reached: {what}",
            hint="check the registry's name and the network, or load the image from an archive",
        ) from error


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
