"""HTTP to one registry: TLS, redirects, and whichever of anonymous, basic and bearer sign-in it asks for."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote, urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from hivemind.errors import Forbidden, Invalid, NotFound, TimedOut, TooLarge, Unauthenticated, Unavailable
from hivemind.model.image import DEFAULT_REGISTRY, Reference

DOCKER_HUB = "registry-1.docker.io"
REDIRECTS = 5
TOKEN_LIMIT = 2**20
_CHALLENGE = re.compile(r'([a-zA-Z_]+)="([^"]*)"')


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How registries are reached. Hosts are written as in references: `registry.example.com:5000`."""

    credentials: dict[str, tuple[str, str]] = {}
    """User and password by host."""
    insecure: tuple[str, ...] = ()
    """Hosts that are asked over plain HTTP, beside those on loopback."""
    ca_file: str = ""
    """PEM file of further trusted authorities."""
    timeout: float = 30.0
    """Seconds without a byte until a registry counts as unreachable."""


class Cut(Exception):
    """The connection broke while a body was on its way."""


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

    def __init__(self, reference: Reference, settings: RegistrySettings) -> None:
        self.host = reference.registry
        self.repository = reference.repository
        self.what = str(reference)
        self.settings = settings
        self._lock = threading.Lock()
        self._authorization = ""
        self._tls: ssl.SSLContext | None = None
        scheme = "http" if self._plain() else "https"
        address = DOCKER_HUB if self.host == DEFAULT_REGISTRY else self.host
        self.base = f"{scheme}://{address}/v2/{self.repository}/"

    def _plain(self) -> bool:
        return self.host in self.settings.insecure or (not self.settings.ca_file and _is_loopback(self.host))

    @contextmanager
    def get(self, path: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """A successful answer to GET; signs in when asked to. Raises what a person can act upon."""
        url = urljoin(self.base, path)
        with self._follow(url, {**headers, **self._signed()}) as response:
            if response.status != 401:
                self._check(response)
                yield response
                return
            challenge = response.header("WWW-Authenticate")
        self._sign_in(challenge)
        with self._follow(url, {**headers, **self._signed()}) as response:
            self._check(response)
            yield response

    def _signed(self) -> dict[str, str]:
        with self._lock:
            return {"Authorization": self._authorization} if self._authorization else {}

    def _check(self, response: Response) -> None:
        status = response.status
        if status in (200, 206):
            return
        user = self.settings.credentials.get(self.host, ("",))[0]
        if status == 401:
            who = f"the user {user!r} and password given" if user else "anyone without an account"
            raise Unauthenticated(
                f"{self.host} does not let in {who} to pull {self.what}",
                hint=f"check the user and password for {self.host}, and the image's name",
            )
        if status == 403:
            raise Forbidden(
                f"{self.host} refuses to hand out {self.what}", hint="ask its owner for the right to pull"
            )
        if status == 404:
            raise NotFound(f"{self.host} has no image {self.what}", hint="check the name and the tag")
        if status == 429:
            raise Unavailable(
                f"{self.host} refuses for now: too many pulls", hint="sign in or try again later"
            )
        raise Unavailable(f"{self.host} answered {status} when asked for {self.what}", hint="try again later")

    # signing in

    def _sign_in(self, challenge: str) -> None:
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
        user, password = self.settings.credentials.get(self.host, ("", ""))
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""

    def _token(self, challenge: dict[str, str]) -> str:
        """Asks the registry's token service for the right to pull this repository."""
        realm = challenge.get("realm", "")
        if urlsplit(realm).scheme != "https" and not (self._plain() and urlsplit(realm).scheme == "http"):
            raise Invalid(f"{self.host} names {realm!r} as its token service; a password is not sent there")
        query = {"scope": challenge.get("scope") or f"repository:{self.repository}:pull"}
        if "service" in challenge:
            query["service"] = challenge["service"]
        basic = self._basic()
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        with self._follow(url, {"Authorization": basic} if basic else {}) as response:
            self._check(response)
            try:
                answer = msgspec.json.decode(response.read_all(TOKEN_LIMIT), type=_TokenAnswer)
            except msgspec.DecodeError as error:
                raise Unavailable(f"the token service of {self.host} makes no sense: {error}") from error
        return answer.token or answer.access_token

    # requests

    @contextmanager
    def _follow(self, url: str, headers: dict[str, str]) -> Iterator[Response]:
        """GET, following redirects; the sign-in never goes to another host, nor from TLS to plain HTTP."""
        for _ in range(REDIRECTS):
            connection = self._connect(url)
            try:
                raw = self._ask(connection, url, headers)
                if raw.status not in (301, 302, 303, 307, 308):
                    yield Response(raw)
                    return
                onward = urljoin(url, raw.headers.get("Location", ""))
            finally:
                connection.close()
            if urlsplit(onward)[:2] != urlsplit(url)[:2]:
                headers = {key: value for key, value in headers.items() if key != "Authorization"}
            if urlsplit(url).scheme == "https" and urlsplit(onward).scheme != "https":
                raise Unavailable(f"{self.host} redirects from TLS to {onward!r}, which is not followed")
            url = onward
        raise Unavailable(f"{self.host} redirects in a circle", hint="try again later")

    def _ask(
        self, connection: http.client.HTTPConnection, url: str, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        try:
            connection.request(
                "GET", parts.path + (f"?{parts.query}" if parts.query else ""), headers=dict(headers)
            )
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(
                f"the certificate of {parts.netloc} is not trusted: {error.verify_message}",
                hint="name its authority's file in the registry settings",
            ) from error
        except TimeoutError as error:
            raise TimedOut(
                f"{parts.netloc} did not answer within {self.settings.timeout:g} s", hint="check the network"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"{parts.netloc} cannot be reached: {getattr(error, 'strerror', '') or error or type(error).__name__}",
                hint="check the registry's name and the network, or load the image from an archive",
            ) from error

    def _connect(self, url: str) -> http.client.HTTPConnection:
        """Straight, or for TLS through the tunnel of the proxy that `HTTPS_PROXY` names, unless `NO_PROXY` says no."""
        parts = urlsplit(url)
        timeout = self.settings.timeout
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.netloc, timeout=timeout)
        if parts.scheme != "https":
            raise Unavailable(f"{self.host} points to {url!r}, which is no web address")
        proxy = getproxies().get("https", "")
        if not proxy or proxy_bypass(parts.netloc) or _is_loopback(parts.netloc):
            return http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=self._context())
        through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        tunnel = http.client.HTTPSConnection(
            through.hostname or "", through.port or 80, timeout=timeout, context=self._context()
        )
        sign_in = f"{unquote(through.username or '')}:{unquote(through.password or '')}"
        headers = {"Proxy-Authorization": f"Basic {base64.b64encode(sign_in.encode()).decode()}"}
        tunnel.set_tunnel(parts.hostname or "", parts.port or 443, headers if through.username else {})
        return tunnel

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                try:
                    self._tls = ssl.create_default_context()
                    if self.settings.ca_file:
                        self._tls.load_verify_locations(self.settings.ca_file)
                except OSError as error:
                    raise Invalid(
                        f"the authorities in {self.settings.ca_file!r} cannot be read: {error}",
                        hint="name a PEM file with certificates",
                    ) from error
            return self._tls


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
