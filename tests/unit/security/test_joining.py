"""What both sides of the door show each other: that they know the same token, here and now."""

from __future__ import annotations

import os

from hivemind.security.identity import Identity
from hivemind.security.joining import acquainted, joining

TOKEN, OTHER = Identity(b"t" * 32), Identity(b"o" * 32)
BINDING = os.urandom(64)


def test_it_is_another_for_each_token_side_and_connection() -> None:
    shown = {
        acquainted(token.public, side, binding)
        for token in (TOKEN, OTHER)
        for side in ("newcomer", "sponsor")
        for binding in (BINDING, os.urandom(64))
    }
    assert len(shown) == 8 and {len(each) for each in shown} == {32}
    assert acquainted(TOKEN.public, "sponsor", BINDING) in shown


def test_what_is_signed_names_the_hive_the_node_and_its_administrator() -> None:
    said = {joining(*words) for words in (("h", "n", "a"), ("i", "n", "a"), ("h", "m", "a"), ("h", "n", "b"))}
    assert len(said) == 4
