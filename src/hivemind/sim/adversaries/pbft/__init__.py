"""Those who lie to PBFT, by their names. A line adds one."""

from __future__ import annotations

from typing import Final

from hivemind.sim.adversaries.pbft import (
    flooding,
    forgery,
    memory,
    proposals,
    replay,
    silence,
    state,
    views,
    votes,
)
from hivemind.sim.adversaries.pbft.liar import Liar

ADVERSARIES: Final[dict[str, type[Liar]]] = {
    kind.name: kind
    for kind in (
        proposals.EquivocatingPrimary, proposals.EquivocatingToOne, proposals.Conspiracy, proposals.Majority,
        proposals.SkippingPrimary, proposals.ExhaustingPrimary, proposals.PartialPrimary, proposals.TimeTraveller,
        proposals.InventingPrimary, proposals.RepeatingPrimary,
        silence.Silent, silence.Slow, silence.Censor, silence.Withholder, silence.Erratic, silence.SilentChange,
        silence.SilentBeside,
        votes.DoubleVoter, votes.StaleVoter, votes.EarlyCommitter,
        views.FabricatedCertificates, views.OmittingNewView, views.AlteringNewView, views.ReusedChanges,
        views.Storm, views.Amnesic,
        state.LyingCheckpoint, state.CorruptState, state.DivergentExecution,
        forgery.Forger, forgery.Impostor, forgery.WrongEpoch, forgery.Malformed,
        replay.Replayer, replay.ForeignHive,
        flooding.Flooder, flooding.Babbler, flooding.Oversize, flooding.EquivocatingClient,
        memory.Forgetful,
    )
}  # fmt: skip
