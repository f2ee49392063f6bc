"""The public, typed client. `from hivemind.client import Hivemind`."""

from hivemind.client.client import Hivemind

__all__ = ["Hivemind"]
