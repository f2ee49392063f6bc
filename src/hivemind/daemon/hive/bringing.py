"""What a node had agreed with itself, made ready for the hive that it joins: its secrets, which its own key seals, are
sealed anew for the hive."""

from __future__ import annotations

import os
from typing import Any

from msgspec.structs import replace

from hivemind.errors import Conflict
from hivemind.model.content import Content, Piece, sealing_context
from hivemind.model.hive import NodeRole
from hivemind.model.image_registry import ImageRegistry
from hivemind.model.image_registry import sealing_context as registry_context
from hivemind.security.envelope import Envelope, seal
from hivemind.security.identity import Identity
from hivemind.security.sealing import NONCE_BYTES, Vault
from hivemind.state.adoption import belongings, pack
from hivemind.state.operations import AdoptRecords, encode_operation
from hivemind.state.state import State


class Own:
    """Raises `Conflict` when there is something that cannot come along."""

    def __init__(
        self, state: State, node: str, vault: Vault, administrator: Identity, hive: str, role: NodeRole
    ) -> None:
        self._node, self._vault, self._administrator, self._hive = node, vault, administrator, hive
        self._brought = belongings(state)
        if self._brought and role != "member":
            things = sum(map(len, self._brought.values()))
            raise Conflict(
                f"a {role} brings nothing into a hive, and this node has agreed {things} things with itself",
                hint="give them up with --forget-own, or join with a member's token",
            )

    def as_it_is(self) -> AdoptRecords | None:
        return AdoptRecords(node=self._node, records=pack(self._brought)) if self._brought else None

    def sealed_for(self, vault: bytes) -> Envelope | None:
        if not self._brought:
            return None
        theirs = Vault(vault)
        anew: dict[str, dict[str, Any]] = {name: dict(records) for name, records in self._brought.items()}
        for key, content in anew.get("contents", {}).items():
            anew["contents"][key] = self._content(content, theirs)
        for key, registry in anew.get("registries", {}).items():
            anew["registries"][key] = self._registry(registry, theirs)
        operation = AdoptRecords(node=self._node, records=pack(anew))
        return seal(self._administrator, self._hive, os.urandom(12).hex(), encode_operation(operation))

    def _content(self, content: Content, theirs: Vault) -> Content:
        if content.kind != "secret":
            return content
        pieces = {}
        for key, piece in content.data.items():
            context = sealing_context(content.project, content.name, key)
            plain = self._vault.open(piece.value, context)
            pieces[key] = Piece(
                value=theirs.seal(plain, context, os.urandom(NONCE_BYTES)),
                digest=theirs.digest(plain, context),
            )
        return replace(content, data=pieces)

    def _registry(self, registry: ImageRegistry, theirs: Vault) -> ImageRegistry:
        if not registry.sealed:
            return registry
        context = registry_context(registry.name)
        plain = self._vault.open(registry.sealed, context)
        return replace(registry, sealed=theirs.seal(plain, context, os.urandom(NONCE_BYTES)))


class Nothing:
    """All of it is given up."""

    def as_it_is(self) -> None:
        return None

    def sealed_for(self, vault: bytes) -> None:
        return None
