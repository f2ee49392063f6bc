"""Sealed datagrams: what is taken, once, and what becomes of everything else."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from hivemind.protocols.datagram import LARGEST_MESSAGE, Datagram, Sealer, Window
from hivemind.protocols.machine import SECOND
from hivemind.security.identity import Identity, verify

A, B, C = (Identity(bytes([number]) * 32) for number in (1, 2, 3))
SECRET = b"s" * 32
NOW = 1_700_000_000 * SECOND
NONCE = b"n" * 24


def sealer(identity: Identity, hive: str = "hive", secret: bytes = SECRET, **more: Any) -> Sealer:
    return Sealer(identity, verify, hive, secret, **more)


def sealed(identity: Identity = A, wall: int = NOW, message: bytes = b"ping", **more: Any) -> bytes:
    return sealer(identity, **more).seal("swim", message, wall, NONCE)


def test_it_opens_for_whoever_has_the_secret() -> None:
    receiver = sealer(B)
    assert receiver.open(sealed(message=b""), NOW) == Datagram(A.public, "swim", b"")
    largest = sealed(C, message=b"x" * LARGEST_MESSAGE)
    assert len(largest) < 1_400
    assert receiver.open(largest, NOW) == Datagram(C.public, "swim", b"x" * LARGEST_MESSAGE)
    assert not receiver.dropped


def test_every_flipped_bit_and_every_cut_is_dropped() -> None:
    packet, receiver = sealed(), sealer(B)
    for bit in range(0, len(packet) * 8, 3):
        flipped = bytearray(packet)
        flipped[bit // 8] ^= 1 << bit % 8
        assert receiver.open(bytes(flipped), NOW) is None
    for length in range(len(packet)):
        assert receiver.open(packet[:length], NOW) is None
    assert receiver.open(packet + b"!", NOW) is None
    assert receiver.open(bytes(9_000), NOW) is None
    assert receiver.open(packet, NOW) is not None, "none of them used up its stamp"


def test_of_another_hive_or_with_another_secret_nothing_opens() -> None:
    receiver = sealer(B)
    assert receiver.open(sealed(hive="other"), NOW) is None
    assert receiver.open(sealed(secret=b"o" * 32), NOW) is None
    assert receiver.dropped == {"sealed for others": 2}


def test_nothing_is_taken_twice() -> None:
    receiver, sender = sealer(B), sealer(A)
    packets = [sender.seal("swim", b"%d" % number, NOW, bytes([number]) * 24) for number in range(200)]
    shuffled = packets[100:] + packets[:100]
    assert all(receiver.open(packet, NOW) for packet in shuffled)
    assert not any(receiver.open(packet, NOW + SECOND) for packet in shuffled)
    assert receiver.dropped == {"replayed": 200}


def test_one_older_than_all_that_is_remembered_is_not_taken() -> None:
    for overtaken_by, taken in ((Window.SIZE, True), (Window.SIZE + 1, False)):
        receiver, sender = sealer(B), sealer(A)
        held_back = sender.seal("swim", b"held back", NOW, NONCE)
        for number in range(overtaken_by):
            assert receiver.open(sender.seal("swim", b"", NOW + 1 + number, NONCE), NOW)
        assert (receiver.open(held_back, NOW) is not None) == taken


def test_an_old_recording_is_not_taken_after_a_restart() -> None:
    packet = sealed()
    assert sealer(B).open(packet, NOW + 601 * SECOND) is None
    assert sealer(B).open(packet, NOW - 601 * SECOND) is None
    assert sealer(B).open(packet, NOW + 599 * SECOND)


def test_a_known_senders_clock_may_be_anything() -> None:
    receiver, sender = sealer(B), sealer(A)
    assert receiver.open(sender.seal("swim", b"", NOW, NONCE), NOW)
    assert receiver.open(sender.seal("swim", b"", NOW, NONCE), NOW + 3600 * SECOND)
    assert receiver.open(sender.seal("swim", b"", NOW - 3600 * SECOND, NONCE), NOW), "its stamps only rise"


def test_ones_own_do_not_come_back() -> None:
    assert sealer(A).open(sealed(A), NOW) is None


def test_a_holder_of_the_secret_cannot_speak_for_another_node() -> None:
    class Liar:
        """C's signature under A's name."""

        public = A.public
        sign = staticmethod(C.sign)

    receiver = sealer(B)
    forged = Sealer(Liar, verify, "hive", SECRET).seal("swim", b"dead: B", NOW, NONCE)
    assert receiver.open(forged, NOW) is None
    assert receiver.dropped == {"forged": 1}
    assert receiver.open(sealed(wall=NOW), NOW), "a forged stamp uses up nothing"


def test_a_kind_cannot_be_exchanged_for_another() -> None:
    """With the secret one can open and seal anew, but what is signed names the kind."""
    key = sealer(B)._key
    purpose = b"hivemind/datagram/1"
    packet = sealed()
    plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(packet[24:], purpose, packet[:24], key)
    other = plain.replace(b"\x04swim", b"\x03dhtm")
    again = NONCE + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(other, purpose, NONCE, key)
    receiver = sealer(B)
    assert receiver.open(again, NOW) is None
    assert receiver.dropped == {"forged": 1}


def test_senders_that_are_remembered_are_bounded() -> None:
    receiver = sealer(B, senders=2)
    for number in range(10, 15):
        assert receiver.open(sealed(Identity(bytes([number]) * 32)), NOW)
    assert len(receiver._windows) == 2


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_dropped(noise: bytes) -> None:
    receiver = sealer(B)
    assert receiver.open(noise, NOW) is None
    key, purpose = receiver._key, b"hivemind/datagram/1"
    inside = NONCE + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(noise, purpose, NONCE, key)
    assert receiver.open(inside, NOW) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=800))
def test_a_window_never_takes_a_stamp_twice(stamps: list[int]) -> None:
    window, taken = Window(), list[int]()
    for stamp in stamps:
        if window.fresh(stamp):
            window.take(stamp)
            taken.append(stamp)
    assert len(taken) == len(set(taken))
    assert len(window._seen) <= Window.SIZE
