"""What each operation means. A handler validates first and writes last; a refusal is a raised error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hivemind.errors import Forbidden
from hivemind.model.principal import Principal
from hivemind.security.authority import may
from hivemind.state import (
    adoption,
    apps,
    contents,
    leaving,
    losing,
    membership,
    nodes,
    principals,
    projects,
    registries,
    restarting,
    rollouts,
    snapshots,
    storage,
    tokens,
    volumes,
)
from hivemind.state import operations as op
from hivemind.state.jobs import circuits, definitions, events, firing, notices, pausing, routines, runs
from hivemind.state.state import Outcome, State

Handler = Callable[[State, Any, Principal], Outcome]

_HANDLERS: dict[type[op.Operation], Handler] = {
    op.RegisterPrincipal: principals.register,
    op.RevokePrincipal: principals.revoke,
    op.RegisterNode: nodes.register,
    op.UpdateNode: nodes.update,
    op.DrainNode: nodes.drain,
    op.ReportCoordinates: membership.locate,
    op.FoundHive: membership.found,
    op.ConfigureHive: membership.configure,
    op.PutJoinToken: tokens.put,
    op.DeleteJoinToken: tokens.delete,
    op.JoinHive: membership.join,
    op.ReadyToVote: membership.ready,
    op.AdoptRecords: adoption.adopt,
    op.LeaveHive: leaving.leave,
    op.ExpelNode: leaving.expel,
    op.ReportEvidence: leaving.convict,
    op.AccuseNode: losing.accuse,
    op.AcquitNode: losing.acquit,
    op.AnnounceRestart: restarting.announce,
    op.ReportAllocations: nodes.report,
    op.PutProject: projects.put,
    op.DeleteProject: projects.delete,
    op.PutRegistry: registries.put,
    op.DeleteRegistry: registries.delete,
    op.DeployApp: apps.deploy,
    op.ScaleApp: apps.scale,
    op.RestartApp: rollouts.restart,
    op.RollbackApp: rollouts.rollback,
    op.PauseApp: rollouts.pause,
    op.ResumeApp: rollouts.resume,
    op.StopApp: apps.stop,
    op.StartApp: apps.start,
    op.DeleteApp: apps.delete,
    op.PutVolume: volumes.put,
    op.DeleteVolume: volumes.delete,
    op.RestoreVolume: volumes.restore,
    op.PutSnapshot: snapshots.put,
    op.DeleteSnapshot: snapshots.delete,
    op.PutStorageClass: storage.put_class,
    op.DeleteStorageClass: storage.delete_class,
    op.PutBackupTarget: storage.put_target,
    op.DeleteBackupTarget: storage.delete_target,
    op.ReportVolumes: volumes.report,
    op.PutContent: contents.put,
    op.DeleteContent: contents.delete,
    op.PutJob: definitions.put,
    op.DeleteJob: definitions.delete,
    op.PauseJob: pausing.pause_job,
    op.PauseQueue: pausing.pause_queue,
    op.PutRoutine: routines.put,
    op.DeleteRoutine: routines.delete,
    op.StartRun: runs.start,
    op.Backfill: firing.backfill,
    op.CancelRun: runs.cancel,
    op.PauseRun: runs.pause,
    op.RetryRun: runs.retry,
    op.Approve: runs.approve,
    op.RaiseEvent: events.raise_event,
    op.ForceCircuit: circuits.force,
    op.ReportNotices: notices.report,
}


def handle(state: State, operation: op.Operation, signer: str) -> Outcome:
    if isinstance(operation, op.RegisterPrincipal) and not len(state.principals):
        return principals.found(state, operation, signer)
    who = _known(state, signer)
    may(who.role, _tag(operation), is_node=who.kind == "node")
    return _HANDLERS[type(operation)](state, operation, who)


def _known(state: State, signer: str) -> Principal:
    if signer not in state.principals:
        raise Forbidden("this key is not known to the hive", hint="ask an administrator for a token")
    return state.principals[signer]


def _tag(operation: op.Operation) -> str:
    return str(operation.__struct_config__.tag)
