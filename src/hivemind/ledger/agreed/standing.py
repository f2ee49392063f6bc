"""How agreement goes, in words: who is missing, and whether what is left is enough."""

from __future__ import annotations

from hivemind.errors import HivemindError, Unavailable
from hivemind.ledger.contract import LedgerStatus
from hivemind.ledger.voters import name_of
from hivemind.protocols.pbft.events import Standing
from hivemind.protocols.pbft.quorum import quorum
from hivemind.state.state import State


def status_of(
    standing: Standing,
    state: State,
    *,
    node: str,
    now: int,
    wall: int,
    silence: float,
    trouble: str,
    evidence: tuple[str, ...],
) -> LedgerStatus:
    """`now`: of the machine's clock, in microseconds. `wall`: milliseconds since 1970. `silence`: seconds after which
    a voter counts as missing. `trouble`: what is wrong here, whoever is there."""
    voters = standing.epoch.voters
    heard = {id: wall - (now - at) // 1000 for id, at in standing.heard if at}
    missing = [id for id in voters if id != node and wall - heard.get(id, 0) > silence * 1000]
    present = len(voters) - len(missing)
    why = trouble or _role(standing)
    enough = present >= quorum(len(voters))
    if not enough:
        names = ", ".join(sorted(name_of(state, id) for id in missing))
        why = (
            f"{present} of {len(voters)} voters are there and {quorum(len(voters))} are needed;"
            f" nothing is heard of {names}" + (f"; {why}" if why else "")
        )
    return LedgerStatus(
        engine="pbft",
        role="voter" if node in voters else "learner",
        epoch=standing.epoch.number,
        voters=voters,
        view=standing.view,
        primary=standing.primary,
        sequence=state.sequence,
        agreed=max(standing.agreed, state.sequence),
        checkpoint=standing.stable,
        can_decide=enough and not trouble,
        why_not=why,
        heard={id: heard[id] for id in sorted(heard) if id in voters},
        evidence=evidence,
        dropped=dict(standing.dropped),
    )


def _role(standing: Standing) -> str:
    if standing.role == "abstaining":
        return "this node lost its votes, so it abstains until they cannot matter any more"
    if standing.role == "diverged":
        return (
            "this node's state differs from the certified one, so it votes no more until it has fetched that"
        )
    return ""


def undecided(status: LedgerStatus, seconds: float) -> HivemindError:
    """For somebody who waited that long."""
    if status.can_decide:
        return Unavailable(
            f"the hive has not decided within {seconds:g} s; it may still do this",
            hint="look whether it was done before you ask again; hivemind cluster status shows how the hive is",
        )
    return Unavailable(
        f"the hive cannot decide now: {status.why_not}; it may still do this when it can",
        hint="what runs goes on; bring the missing nodes back, then look whether it was done: hivemind cluster status",
    )
