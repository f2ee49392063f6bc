"""The store of one node: the shared one, which nobody else is connected to."""

from __future__ import annotations

from hivemind.store.shared import Settings as Settings
from hivemind.store.shared import SharedStore as LocalStore

__all__ = ["LocalStore", "Settings"]
