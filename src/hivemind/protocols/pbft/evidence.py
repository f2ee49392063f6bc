"""Proof of lies: statements of one voter that no honest one makes, verified by anyone, for ever.

Two of the same kind, view and sequence with different digests (PRE-PREPARE, PREPARE, COMMIT, CHECKPOINT); two
different NEW-VIEW of one view; or a VIEW-CHANGE that leaves out what its signer had committed to. One that is false
in itself: a VIEW-CHANGE whose certificates do not hold, a NEW-VIEW that does not follow from its V.
"""

from __future__ import annotations

from hivemind.protocols.machine import Verifier


def proven(proof: bytes, hive: str, verify: Verifier) -> str | None:
    """Who is convicted by an encoded `Evidence` in the domain of `hive` (its id and lineage, as for `Signatures`);
    None when it proves nothing. Knows of no voters: state looks whether the culprit is one. Pure, so that every
    node finds the same."""
    raise NotImplementedError
