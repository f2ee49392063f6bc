"""What can be simulated, and who lies to it, by their names. A line adds one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hivemind.sim.adversaries.autobee import lies as store_lies
from hivemind.sim.adversaries.channel import lies as wire_lies
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.adversaries.kademlia import lies as table_lies
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
from hivemind.sim.adversaries.swim import lies
from hivemind.sim.hosts.autobee.scenario import AutobeeScenario
from hivemind.sim.hosts.channel.scenario import ChannelScenario
from hivemind.sim.hosts.hive.scenario import HiveScenario
from hivemind.sim.hosts.kademlia.scenario import KademliaScenario
from hivemind.sim.hosts.pbft.scenario import PbftScenario
from hivemind.sim.hosts.swim.scenario import SwimScenario
from hivemind.sim.scenario import Scenario, Settings
from hivemind.sim.world import World

SCENARIOS: Final[Mapping[str, type[Scenario]]] = {
    scenario.name: scenario
    for scenario in (
        PbftScenario,
        SwimScenario,
        AutobeeScenario,
        HiveScenario,
        KademliaScenario,
        ChannelScenario,
    )
}


def _named(*kinds: type[Adversary]) -> dict[str, type[Adversary]]:
    return {kind.name: kind for kind in kinds}


ADVERSARIES: Final[Mapping[str, Mapping[str, type[Adversary]]]] = {
    PbftScenario.name: _named(
        proposals.EquivocatingPrimary,
        proposals.EquivocatingToOne,
        proposals.Conspiracy,
        proposals.Majority,
        proposals.SkippingPrimary,
        proposals.ExhaustingPrimary,
        proposals.PartialPrimary,
        proposals.TimeTraveller,
        proposals.InventingPrimary,
        proposals.RepeatingPrimary,
        silence.Silent,
        silence.Slow,
        silence.Censor,
        silence.Withholder,
        silence.Erratic,
        silence.SilentChange,
        silence.SilentBeside,
        votes.DoubleVoter,
        votes.StaleVoter,
        votes.EarlyCommitter,
        views.FabricatedCertificates,
        views.OmittingNewView,
        views.AlteringNewView,
        views.ReusedChanges,
        views.Storm,
        views.Amnesic,
        state.LyingCheckpoint,
        state.CorruptState,
        state.DivergentExecution,
        forgery.Forger,
        forgery.Impostor,
        forgery.WrongEpoch,
        forgery.Malformed,
        replay.Replayer,
        replay.ForeignHive,
        flooding.Flooder,
        flooding.Babbler,
        flooding.Oversize,
        flooding.Bundler,
        flooding.EquivocatingClient,
        memory.Forgetful,
        memory.Recaller,
    ),
    KademliaScenario.name: _named(
        table_lies.WrongId,
        table_lies.TokenForger,
        table_lies.Flooder,
        table_lies.Eclipse,
        table_lies.RecordForger,
        table_lies.Babbler,
    ),
    SwimScenario.name: _named(
        lies.Accuser,
        lies.Raiser,
        lies.Reviver,
        lies.Mute,
        lies.Racer,
        lies.Babbler,
        lies.Swapper,
    ),
    AutobeeScenario.name: _named(
        store_lies.Forker,
        store_lies.Withholder,
        store_lies.Swapper,
        store_lies.Babbler,
    ),
    ChannelScenario.name: _named(
        wire_lies.Garbler,
        wire_lies.Doubler,
        wire_lies.Omitter,
        wire_lies.Swapper,
        wire_lies.Cutter,
        wire_lies.Babbler,
        wire_lies.Stranger,
        wire_lies.Replayer,
        wire_lies.HostileFrames,
    ),
    HiveScenario.name: _named(proposals.EquivocatingPrimary, silence.Censor, replay.Replayer, silence.Silent),
}


def scenario(world: World, settings: Settings) -> Scenario:
    """The world of those settings, with its liars in it."""
    named = settings.adversary
    return SCENARIOS[settings.protocol](
        world, settings, ADVERSARIES[settings.protocol][named] if named else None
    )
