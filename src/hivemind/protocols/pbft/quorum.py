"""How many voters are enough. The only place that knows.

Two quorums of n voters share at least f+1 of them, hence one that is honest; and n-f voters, all that may be left,
are a quorum. `2f+1` is true only of n=3f+1: with three voters it would be one.
"""

from __future__ import annotations


def faulty(n: int) -> int:
    """f: how many of n voters may lie without harm. Of up to three, none: these survive crashes only (of three
    voters one may be down, of two or one none), and a primary that lies can make them disagree."""
    return (n - 1) // 3


def quorum(n: int) -> int:
    """q: so many make a decision, a checkpoint, a new view."""
    return (n + faulty(n)) // 2 + 1


def weak(n: int) -> int:
    """f+1: of so many one is honest."""
    return faulty(n) + 1
