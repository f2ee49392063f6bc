"""Those who lie to SWIM, by their names. A line adds one."""

from __future__ import annotations

from typing import Final

from hivemind.sim.adversaries.swim import lies
from hivemind.sim.adversaries.swim.liar import Liar

ADVERSARIES: Final[dict[str, type[Liar]]] = {
    kind.name: kind
    for kind in (
        lies.Accuser, lies.Raiser, lies.Reviver, lies.Mute, lies.Racer, lies.Babbler, lies.Swapper,
    )
}  # fmt: skip
