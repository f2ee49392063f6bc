"""How each runtime is put together on this machine: a module a runtime, imported only where it is chosen.

Such a module has two functions, see `site.Assembler`. A line here makes it known; the choices of the settings, and
what the command line offers, follow `hivemind.model.app.RuntimeName`.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from hivemind.daemon.runtimes.site import Assembler

MODULES: dict[str, str] = {
    "oci": "hivemind.daemon.runtimes.oci",
    "containerd": "hivemind.daemon.runtimes.containerd",
    "docker": "hivemind.daemon.runtimes.docker",
    "process": "hivemind.daemon.runtimes.process",
}


def assembler(name: str) -> Assembler:
    """The module of that runtime."""
    return cast(Assembler, import_module(MODULES[name]))
