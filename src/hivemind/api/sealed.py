"""Secrets are sealed here, before anything is signed: neither ledger nor state ever holds what they say."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hivemind.api.endpoint import Call
from hivemind.model.base import decode, encode
from hivemind.model.content import ContentKind, Piece, sealing_context
from hivemind.model.image_registry import Credential, RegistryManifest
from hivemind.model.image_registry import sealing_context as registry_context
from hivemind.security.sealing import NONCE_BYTES


def pieces(call: Call, kind: ContentKind, name: str, values: Mapping[str, bytes]) -> dict[str, Piece]:
    """What an operation carries of these values."""
    if kind == "config":
        return {key: Piece(value=value) for key, value in values.items()}
    project, vault = call.params["project"], call.backend.vault
    made = {}
    for key, value in values.items():
        context = sealing_context(project, name, key)
        sealed = vault.seal(value, context, os.urandom(NONCE_BYTES))
        made[key] = Piece(value=sealed, digest=vault.digest(value, context))
    return made


def credential(call: Call, manifest: RegistryManifest) -> bytes | None:
    """None: the one that is there stays. Empty: nobody signs in any more."""
    given = manifest.credential
    if given is None:
        return None
    if not (given.password or given.identity_token):
        return b""
    context = registry_context(manifest.name)
    return call.backend.vault.seal(encode(given), context, os.urandom(NONCE_BYTES))


def opened(call: Call, manifest: RegistryManifest) -> Credential:
    """What the hive keeps for the manifest's user of that registry; an empty one where there is nothing."""
    known = call.state.registries.get(manifest.name)
    if known is None or not known.sealed or known.username != manifest.username:
        return Credential()
    return decode(call.backend.vault.open(known.sealed, registry_context(manifest.name)), Credential)
