"""Choosing a node's subnet and giving addresses from it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.drivers.network import subnets
from hivemind.errors import Conflict, Corrupt, Invalid

NET = IPv4Network


def test_auto_takes_the_first_free_share() -> None:
    assert subnets.choose(None, None, {}, []) == NET("10.200.0.0/22")
    taken = {NET("0.0.0.0/0"): "eth0", NET("10.200.1.0/24"): "vpn", NET("10.200.4.0/32"): "vpn"}
    assert subnets.choose(None, None, taken, []) == NET("10.200.8.0/22")


def test_auto_moves_to_another_pool_when_one_is_all_taken() -> None:
    assert subnets.choose(None, None, {NET("10.0.0.0/8"): "vpn"}, []) == NET("172.30.0.0/22")


def test_no_pool_left_is_an_error_that_names_the_setting() -> None:
    taken = {NET("10.0.0.0/8"): "vpn", NET("172.16.0.0/12"): "vpn", NET("192.168.0.0/16"): "lan"}
    with pytest.raises(Conflict, match=r"no subnet is free.*10.0.0.0/8 by vpn") as caught:
        subnets.choose(None, None, taken, [])
    assert "network.subnet" in caught.value.hint


def test_what_lives_pins_the_subnet_whatever_clashes() -> None:
    kept = NET("10.200.0.0/22")
    living = [IPv4Address("10.200.0.2")]
    assert subnets.choose(None, kept, {NET("10.200.0.0/16"): "vpn"}, living) == kept
    assert subnets.choose(None, kept, {NET("10.200.0.0/16"): "vpn"}, []) == NET("172.30.0.0/22")
    with pytest.raises(Conflict, match="live on"):
        subnets.choose(NET("10.1.0.0/24"), kept, {}, living)


@pytest.mark.parametrize(
    "setting", ["", "automatic", "10.200.0.1/22", "10.0.0.0/30", "0.0.0.0/0", "fd00::/64"]
)
def test_bad_settings_are_refused(setting: str) -> None:
    with pytest.raises(Invalid, match=r"network\.subnet"):
        subnets.parse(setting)


def test_a_corrupt_choice_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    assert subnets.load(path) is None
    path.write_text('{"subnet": 3}')
    with pytest.raises(Corrupt, match=r"network\.json"):
        subnets.load(path)


@given(steps=st.lists(st.sampled_from(["give", "back", "restart"]), max_size=60))
def test_no_address_is_given_twice_or_outside_and_none_again_at_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("addresses") / "network.json"
    subnet = NET("10.7.0.0/20")  # Wide enough for sixty restarts, each of which skips some addresses.
    pool = subnets.Addresses(subnet, path, None)
    taken: list[IPv4Address] = []
    freed: IPv4Address | None = None
    for step in steps:
        if step == "give":
            address = pool.give()
            assert address not in taken
            assert address in subnet and address not in (subnet[0], subnet[1], subnet[-1])
            assert address != freed
            taken.append(address)
        elif step == "back" and taken:
            freed = taken.pop(0)
            pool.take_back(freed)
        elif step == "restart":
            pool = subnets.Addresses(subnet, path, subnets.load(path))
            for address in taken:
                pool.claim(address)
