"""What a command's handler gets: what was asked, where to print, and the hive to ask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hivemind.cli.parsing import Values
from hivemind.cli.terminal import Terminal

if TYPE_CHECKING:
    from hivemind.client.client import Hivemind


class Context:
    def __init__(self, args: Values, terminal: Terminal, hive: Hivemind | None = None) -> None:
        self.args = args
        self.terminal = terminal
        self._hive = hive

    @property
    def project(self) -> str:
        return str(self.args.get("project") or os.environ.get("HIVEMIND_PROJECT") or "default")

    @property
    def scope(self) -> str | None:
        """The project whose things to list; None for all of them (-A)."""
        return None if self.args.get("all_projects") else self.project

    @property
    def hive(self) -> Hivemind:
        """The client, made when it is first needed."""
        if self._hive is None:
            from hivemind.client.client import Hivemind
            from hivemind.client.endpoint import default_endpoint

            self._hive = Hivemind(
                self.args.get("host") or os.environ.get("HIVEMIND_HOST") or default_endpoint(),
                token=self.args.get("token") or os.environ.get("HIVEMIND_TOKEN", ""),
                ca=self.args.get("ca") or os.environ.get("HIVEMIND_CA", ""),
            )
        return self._hive

    def print(self, text: str = "") -> None:
        self.terminal.print(text)

    def note(self, text: str) -> None:
        self.terminal.note(text)

    def close(self) -> None:
        if self._hive is not None:
            self._hive.close()
