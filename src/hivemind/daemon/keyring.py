"""How this node reaches registries: as the hive agreed, else as docker on this machine was told."""

from __future__ import annotations

import logging
from pathlib import Path

from msgspec.structs import replace

from hivemind.drivers.images.access import Access
from hivemind.errors import HivemindError
from hivemind.model.base import decode
from hivemind.model.image_registry import Credential, sealing_context
from hivemind.security.sealing import Vault
from hivemind.state.state import State

log = logging.getLogger(__name__)


class HiveKeyring:
    """A `Keyring`: asked anew for each pull, so what was agreed a moment ago counts. Called in threads: a
    credential helper may take its time."""

    def __init__(self, state: State, vault: Vault, docker_config: Path | None) -> None:
        self._state = state
        self._vault = vault
        self._docker_config = docker_config

    def __call__(self, host: str) -> Access:
        access = self._agreed(host)
        return access if access.signs_in or self._docker_config is None else self._with_dockers(access)

    def _agreed(self, host: str) -> Access:
        known = self._state.registries.get(host)
        if known is None:
            return Access(host=host)
        access = Access(host=host, insecure=known.insecure, ca=known.ca, mirrors=known.mirrors)
        if not known.sealed:
            return access
        credential = decode(self._vault.open(known.sealed, sealing_context(host)), Credential)
        return replace(
            access,
            username=known.username,
            password=credential.password,
            identity_token=credential.identity_token,
        )

    def _with_dockers(self, access: Access) -> Access:
        """A helper that fails must not keep public images away."""
        from hivemind.drivers.images.docker_config import look_up, read

        assert self._docker_config is not None
        try:
            found = look_up(read(self._docker_config), access.host)
        except HivemindError as error:
            log.warning("docker's sign-in for %s cannot be used: %s", access.host, error.message)
            return access
        if found is None:
            return access
        return replace(
            access,
            username=found.username,
            password=found.password,
            identity_token=found.identity_token,
        )


def docker_config(setting: str) -> Path | None:
    """Where docker's sign-ins are, as the setting says."""
    if setting == "none":
        return None
    from hivemind.drivers.images.docker_config import default_path

    return default_path() if setting in ("", "auto") else Path(setting)
