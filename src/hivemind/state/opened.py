"""Opening a value of a secret as it is now, for what the node itself does with it."""

from __future__ import annotations

from hivemind.errors import NotFound
from hivemind.model.content import sealing_context
from hivemind.security.sealing import Vault
from hivemind.state.state import State, bundle_key, content_key


def open_secret(state: State, vault: Vault, project: str, name: str, key: str) -> bytes:
    """The newest value. Raises `NotFound` for a secret or key that is not there, `Corrupt` if it cannot be opened."""
    bundle = state.bundles.get(bundle_key("secret", project, name))
    if bundle is None:
        raise NotFound(f"project {project!r} has no secret {name!r}", hint="make it: hivemind secret create")
    pieces = state.contents[content_key("secret", project, name, bundle.number)].data
    if key not in pieces:
        raise NotFound(f"the secret {name!r} has no key {key!r}", hint=f"it has {', '.join(sorted(pieces))}")
    return vault.open(pieces[key].value, sealing_context(project, name, key))
