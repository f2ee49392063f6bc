"""Channels between honest nodes, and what becomes of everything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.protocols.noise.channel import LARGEST_PLAINTEXT, Channel, Rekeying
from hivemind.protocols.noise.cipher import CipherState, Refused, agree, public_key
from hivemind.protocols.noise.keys import static_private, static_public
from hivemind.security.identity import Identity

A, B, C = (Identity(bytes([number]) * 32) for number in (1, 2, 3))
PSK = b"p" * 32
FREQUENT = Rekeying(records=3, size=100)


def caller(identity: Identity = A, remote: Identity | None = B, hive: str = "hive", **more: Any) -> Channel:
    return Channel(
        identity.seed,
        identity.public,
        hive,
        initiator=True,
        ephemeral=b"a" * 32,
        remote=remote.public if remote else None,
        **more,
    )


def called(identity: Identity = B, hive: str = "hive", psk: bytes | None = PSK, **more: Any) -> Channel:
    return Channel(
        identity.seed, identity.public, hive, initiator=False, ephemeral=b"b" * 32, psk=psk, **more
    )


def shake(one: Channel, other: Channel) -> list[bytes]:
    """The messages of the handshake, in their order."""
    said: list[bytes] = []
    sides = [one, other]
    while message := sides[len(said) % 2].outgoing():
        said.append(message)
        assert sides[len(said) % 2].receive(message) == []
    return said


def pair(contact: bool, **more: Any) -> tuple[Channel, Channel]:
    one = caller(remote=None, psk=PSK, **more) if contact else caller(**more)
    other = called(**more)
    shake(one, other)
    return one, other


@pytest.mark.parametrize("contact", [False, True])
def test_both_sides_know_each_other_and_share_a_hash(contact: bool) -> None:
    one, other = pair(contact)
    assert one.established and other.established
    assert (one.peer, other.peer) == (B.public, A.public)
    assert one.first_contact == other.first_contact == contact
    assert one.binding == other.binding
    assert len(one.binding) == 64
    assert one.confirmed
    assert other.confirmed == contact, "a recording of IK's first message opens, too"
    assert other.receive(one.seal(b"hello")) == [b"hello"]
    assert other.confirmed
    assert one.receive(other.seal(b"") + other.seal(b"x" * LARGEST_PLAINTEXT)) == [
        b"",
        b"x" * LARGEST_PLAINTEXT,
    ]


def test_the_static_key_is_that_of_the_id() -> None:
    assert public_key(static_private(A.seed, A.public)) == static_public(A.public)


def test_an_id_cannot_be_taken_over_by_naming_it() -> None:
    """C proves its own key but says that it is A."""
    liar, honest = caller(C, remote=None, psk=PSK), called()
    liar.node = A.public
    with pytest.raises(Refused, match="claims"):
        shake(liar, honest)
    assert not honest.established


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: caller(hive="other"), called),
        (lambda: caller(remote=C), called),
        (lambda: caller(version=2), called),
        (lambda: caller(version=2), lambda: called(version=2, hive="x")),
        (lambda: caller(remote=None, psk=b"q" * 32), called),
        (lambda: caller(remote=None, psk=PSK, hive="other"), called),
        (lambda: caller(remote=None, psk=PSK), lambda: called(psk=None)),
        (lambda: caller(B, remote=None, psk=PSK), called),
    ],
    ids=["hive", "node", "version", "both", "secret", "contact-hive", "no-contacts", "itself"],
)
def test_what_does_not_belong_together_does_not_come_together(one: Any, other: Any) -> None:
    first, second = one(), other()
    with pytest.raises(Refused):
        shake(first, second)
    assert not second.established


@pytest.mark.parametrize("contact", [False, True])
def test_any_flipped_bit_of_any_message_is_refused(contact: bool) -> None:
    def sides() -> tuple[Channel, Channel]:
        return (caller(remote=None, psk=PSK) if contact else caller()), called()

    for number, message in enumerate(shake(*sides())):
        for bit in range(0, len(message) * 8, 5):
            one, other = sides()
            both = [one, other]
            for earlier in range(number):
                both[(earlier + 1) % 2].receive(both[earlier % 2].outgoing())
            flipped = bytearray(both[number % 2].outgoing())
            assert flipped == message
            flipped[bit // 8] ^= 1 << bit % 8
            reader = both[(number + 1) % 2]
            try:
                reader.receive(bytes(flipped))
            except Refused:
                continue
            # A length that has grown makes it wait for more, and then there is no more to say.
            assert not reader.confirmed and not reader.outgoing(), (number, bit)


def test_truncated_handshakes_wait_and_never_establish() -> None:
    whole = caller().outgoing()
    for length in range(len(whole)):
        other = called()
        assert other.receive(whole[:length]) == []
        assert not other.established and not other.outgoing()


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"hm\x01\x07", b"hm\x01\x01\xff\xff", bytes(600)],
)
def test_what_is_no_handshake_is_refused_at_once(noise: bytes) -> None:
    other = called()
    with pytest.raises(Refused):
        other.receive(noise)
    with pytest.raises(Refused):
        other.receive(caller().outgoing())


def test_a_replayed_first_message_is_never_confirmed() -> None:
    recording = caller().outgoing()
    other = called()
    other.receive(recording)
    other.outgoing()
    assert other.established and not other.confirmed
    earlier, _ = pair(False)
    with pytest.raises(Refused):
        # Even a record of the very connection it was recorded from does not open: the responder's key is new.
        Channel.receive(_answered_anew(recording), earlier.seal(b"hello"))


def _answered_anew(recording: bytes) -> Channel:
    other = Channel(B.seed, B.public, "hive", initiator=False, ephemeral=b"c" * 32, psk=PSK)
    other.receive(recording)
    return other


def test_a_reflected_handshake_is_refused() -> None:
    for first in (caller(), caller(remote=None, psk=PSK)):
        itself = Channel(A.seed, A.public, "hive", initiator=False, ephemeral=b"c" * 32, psk=PSK)
        with pytest.raises(Refused):
            itself.receive(first.outgoing())
            first.receive(itself.outgoing())


def _broken_records(one: Channel) -> Iterator[bytes]:
    record = one.seal(b"a record")
    yield record + record
    one.seal(b"lost")
    yield one.seal(b"overtaken")
    yield (15).to_bytes(2, "big") + bytes(15)
    yield bytes(2)


@pytest.mark.parametrize("number", range(4))
def test_replayed_overtaken_and_short_records_are_refused(number: int) -> None:
    one, other = pair(False)
    broken = list(_broken_records(one))[number]
    with pytest.raises(Refused):
        other.receive(broken)
    with pytest.raises(Refused):
        other.receive(one.seal(b"good again?"))


def test_a_reflected_record_is_refused() -> None:
    one, _ = pair(False)
    with pytest.raises(Refused):
        one.receive(one.seal(b"mine"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=30), st.lists(st.integers(1, 90), min_size=1), st.booleans())
def test_any_split_of_the_bytes_gives_the_same_records(
    messages: list[bytes], sizes: list[int], contact: bool
) -> None:
    """Handshake and records, through many changes of the key."""
    one = caller(remote=None, psk=PSK, rekeying=FREQUENT) if contact else caller(rekeying=FREQUENT)
    other = called(rekeying=FREQUENT)
    got: list[bytes] = []

    def carry(data: bytes, to: Channel) -> None:
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            got.extend(to.receive(data[at : at + size]))
            at, turn = at + size, turn + 1

    carry(one.outgoing(), other)
    carry(other.outgoing(), one)
    carry(one.outgoing() + b"".join(one.seal(message) for message in messages), other)
    assert got == messages
    carry(b"".join(other.seal(message) for message in messages), one)
    assert got == messages * 2


def test_keys_change_after_records_and_after_bytes() -> None:
    one, _ = pair(False, rekeying=Rekeying(records=2))
    plain, _ = pair(False)
    assert one.seal(b"1") == plain.seal(b"1")
    assert one.seal(b"2") == plain.seal(b"2")
    assert one.seal(b"3") != plain.seal(b"3")
    one, _ = pair(False, rekeying=Rekeying(size=10))
    plain, _ = pair(False)
    assert one.seal(b"x" * 10) == plain.seal(b"x" * 10)
    assert one.seal(b"3") != plain.seal(b"3")


def test_used_up_nonces_are_not_used_again() -> None:
    cipher = CipherState(bytes(32))
    cipher.n = 2**64 - 2
    assert cipher.seal(b"", b"the last")
    with pytest.raises(Refused, match="nonces"):
        cipher.seal(b"", b"one too many")
    with pytest.raises(Refused, match="nonces"):
        cipher.open(b"", bytes(32))


def test_keys_of_small_order_are_refused() -> None:
    for point in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(Refused):
            agree(b"a" * 32, point)
    with pytest.raises(Refused):
        static_public("00" * 32)
    with pytest.raises(Refused):
        static_public("not hex")
