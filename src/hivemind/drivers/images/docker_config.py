"""What docker's own sign-ins left on this machine: `config.json` and the credential helpers that it names."""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hivemind.drivers.images.access import Access
from hivemind.errors import Invalid, Unavailable
from hivemind.model.image import DEFAULT_REGISTRY
from hivemind.model.image_registry import registry_host

HELPER_SECONDS = 30
_HUB = "https://index.docker.io/v1/"
_TOKEN = "<token>"
"""As a user's name, it says that the secret is an identity token."""
_UNKNOWN = "credentials not found"


class _Auth(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class DockerConfig(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, _Auth] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


class _Secret(msgspec.Struct, frozen=True, rename="pascal"):
    username: str = ""
    secret: str = ""


def default_path(environ: Mapping[str, str] = os.environ) -> Path:
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/root") / ".docker"
    return Path(folder) / "config.json"


def read(path: Path) -> DockerConfig:
    """An empty one where there is none. Raises `Invalid`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return DockerConfig()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None
    try:
        return msgspec.json.decode(data, type=DockerConfig)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # What it says is not told: it holds passwords.
        raise Invalid(f"{path} is not a configuration of docker", hint="it is JSON with `auths`") from None


def hosts(config: DockerConfig) -> list[str]:
    """The registries to which docker is signed in, as far as it tells. May run the helper. Raises as `look_up`."""
    named = [*config.auths, *config.cred_helpers]
    if config.creds_store:
        listed = _ask(config.creds_store, "list", "") or b"{}"
        named += msgspec.json.decode(listed, type=dict[str, str])
    return sorted({registry_host(name) for name in named})


def look_up(config: DockerConfig, host: str) -> Access | None:
    """Who signs in to `host`; None when docker does not know. A helper for the host comes first, then the general
    one, then the file itself. Raises `Unavailable` for a helper that fails."""
    helper = next((h for name, h in config.cred_helpers.items() if registry_host(name) == host), "")
    if (helper or config.creds_store) and (found := _from_helper(helper or config.creds_store, host)):
        return found
    for name, auth in config.auths.items():
        if registry_host(name) == host and (found := _from_file(host, auth)):
            return found
    return None


def _from_file(host: str, auth: _Auth) -> Access | None:
    username, password = auth.username, auth.password
    if auth.auth:
        try:
            username, _, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Invalid(f"docker's sign-in for {host} is damaged", hint="docker login again") from None
    password = password.rstrip("\0")
    if not username and not auth.identitytoken:
        return None
    return Access(host=host, username=username, password=password, identity_token=auth.identitytoken)


def _from_helper(helper: str, host: str) -> Access | None:
    data = _ask(helper, "get", _HUB if host == DEFAULT_REGISTRY else host)
    if data is None:
        return None
    try:
        found = msgspec.json.decode(data, type=_Secret)
    except msgspec.DecodeError:
        raise Unavailable(f"docker-credential-{helper} answers in a way that is not understood") from None
    if found.username == _TOKEN:
        return Access(host=host, identity_token=found.secret)
    return Access(host=host, username=found.username, password=found.secret) if found.username else None


def _ask(helper: str, verb: str, text: str) -> bytes | None:
    """None: it knows nothing of that. What it prints is never part of an error."""
    program = f"docker-credential-{helper}"
    if os.sep in helper or not shutil.which(program):
        raise Unavailable(f"the credential helper {program} is not here", hint="install it, or sign in anew")
    try:
        asked = subprocess.run(
            [program, verb], input=text.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{program} cannot be asked: {type(error).__name__}") from None
    if asked.returncode == 0:
        return asked.stdout
    if _UNKNOWN in (asked.stdout + asked.stderr).decode(errors="replace").lower():
        return None
    raise Unavailable(f"{program} {verb} failed with {asked.returncode}", hint=f"try it: {program} list")
