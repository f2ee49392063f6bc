"""What the zone knows and how it is answered, read back with dnspython."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import pytest

from hivemind.protocols.dns.answer import Forward, Transport, answer, failure
from hivemind.protocols.dns.message import read_query
from hivemind.protocols.dns.zone import TTL, Entry, Zone

HOST = "127.0.0.1"
SHOP = "10.1.0.9"


def entry(
    app: str, slot: int, ip: str, *, project: str = "default", ready: bool = True, **more: object
) -> Entry:
    return Entry(project=project, app=app, slot=slot, ip=ip, ready=ready, **more)  # type: ignore[arg-type]


WEB = [
    entry("web", i, f"10.0.0.{i + 2}", service="web.local", ports=(("80/tcp", 80), ("dns/udp", 5353)))
    for i in range(3)
]
ZONE = Zone.build(
    [
        *WEB,
        entry("web", 3, "10.0.0.5", service="web.local", ready=False),
        entry("six", 0, "fd00::6"),
        entry("db", 0, "10.0.1.2", service="db.local"),
        entry("db", 0, "10.1.0.8", project="shop", service="db.local"),
        entry("cart", 0, SHOP, project="shop", service="cart.local"),
        entry("sick", 0, "10.0.0.9", ready=False, service="sick.local"),
        Entry(project="default", app="new", service="new.local"),
    ]
)


def ask(
    name: str, type: str = "A", client: str = HOST, zone: Zone = ZONE, id: int = 0, **query: object
) -> dns.message.Message:
    question = dns.message.make_query(name, type, id=id, **query)  # type: ignore[arg-type]
    response = answer(question.to_wire(), client, zone)
    assert isinstance(response, bytes), f"{name} was not answered but {response!r}"
    message = dns.message.from_wire(response)
    assert question.is_response(message)
    return message


def found(message: dns.message.Message) -> list[str]:
    assert message.rcode() == dns.rcode.NOERROR
    return [rdata.to_text() for rrset in message.answer for rdata in rrset]


def forwarded(name: str, type: str = "A", client: str = HOST, zone: Zone = ZONE) -> bool:
    return isinstance(answer(dns.message.make_query(name, type).to_wire(), client, zone), Forward)


def replicas(project: str = "default", zone: Zone = ZONE) -> list[str]:
    return [f"10.0.0.{i}" for i in (2, 3, 4)]


@pytest.mark.parametrize("name", ["web.local", "web", "web.default.hive", "WEB.Local.", "wEB"])
def test_the_host_knows_an_app_by_all_its_names(name: str) -> None:
    message = ask(name)
    assert sorted(found(message)) == replicas()
    assert message.flags & dns.flags.AA
    assert message.answer[0].ttl == TTL
    assert 1 <= TTL <= 5


def test_the_clients_spelling_is_repeated() -> None:
    question = dns.message.make_query("wEb.LoCaL", "A")
    response = answer(question.to_wire(), HOST, ZONE)
    assert isinstance(response, bytes)
    assert b"\x03wEb\x05LoCaL\x00" in response


def test_each_replica_has_a_name() -> None:
    assert found(ask("1.web.default.hive")) == ["10.0.0.3"]
    assert found(ask("3.web.default.hive")) == []
    assert ask("7.web.default.hive").rcode() == dns.rcode.NXDOMAIN


def test_ipv6() -> None:
    assert found(ask("six", "AAAA")) == ["fd00::6"]
    assert found(ask("six", "A")) == []


def test_a_name_without_healthy_replicas_exists_but_leads_nowhere() -> None:
    for name in ("sick", "sick.local", "sick.default.hive", "0.sick.default.hive", "new", "new.local"):
        message = ask(name)
        assert message.rcode() == dns.rcode.NOERROR
        assert not message.answer
        assert message.authority[0].rdtype == dns.rdatatype.SOA
        assert message.authority[0][0].minimum <= 5


def test_a_type_that_a_name_does_not_have_is_no_data() -> None:
    for type in ("AAAA", "TXT", "MX", "HTTPS"):
        message = ask("web.local", type)
        assert (message.rcode(), message.answer) == (dns.rcode.NOERROR, [])
        assert message.authority[0].name == dns.name.from_text("web.local")


def test_unknown_names_of_ours_do_not_exist() -> None:
    for name in ("nope.default.hive", "nope.hive", "a.b.c.web.default.hive", "_81._tcp.web.local"):
        message = ask(name)
        assert message.rcode() == dns.rcode.NXDOMAIN
        assert message.authority[0].rdtype == dns.rdatatype.SOA


def test_names_between_others_exist() -> None:
    for name in ("hive", "default.hive", "_tcp.web.local", "_udp.web.default.hive"):
        assert ask(name).rcode() == dns.rcode.NOERROR
    assert ask("hive", "SOA").answer[0].rdtype == dns.rdatatype.SOA


def test_names_that_are_not_ours_are_forwarded() -> None:
    assert all(
        forwarded(name)
        for name in ("example.com", ".", "local", "nope", "nope.local", "x.web.local", "go.web")
    )
    assert forwarded("9.9.9.9.in-addr.arpa", "PTR")


def test_srv_leads_to_replicas_with_their_addresses() -> None:
    for name in ("_80._tcp.web.local", "_80._tcp.web", "_80._tcp.web.default.hive"):
        message = ask(name, "SRV")
        assert sorted(found(message)) == [f"0 0 80 {i}.web.default.hive." for i in range(3)]
        extra = sorted((r.name.to_text(), r[0].to_text()) for r in message.additional)
        assert extra == [(f"{i}.web.default.hive.", f"10.0.0.{i + 2}") for i in range(3)]
    assert found(ask("_dns._udp.0.web.default.hive", "SRV")) == ["0 0 5353 0.web.default.hive."]


def test_addresses_lead_back_to_replicas() -> None:
    assert found(ask("3.0.0.10.in-addr.arpa", "PTR")) == ["1.web.default.hive."]
    assert found(ask(dns.reversename.from_address("fd00::6").to_text(), "PTR")) == ["0.six.default.hive."]


def test_loopback_addresses_of_processes_keep_their_meaning() -> None:
    zone = Zone.build(
        [entry("a", 0, HOST, project="p"), entry("b", 0, HOST, project="q"), entry("c", 0, HOST)]
    )
    assert forwarded("1.0.0.127.in-addr.arpa", "PTR", zone=zone)
    assert found(ask("c", zone=zone)) == [HOST]
    assert forwarded("a", zone=zone)


def test_bare_names_stay_inside_their_project() -> None:
    assert found(ask("db", client=SHOP)) == ["10.1.0.8"]
    assert found(ask("db", client="10.0.0.2")) == ["10.0.1.2"]
    assert found(ask("cart", client=SHOP)) == [SHOP]
    assert forwarded("cart", client="10.0.0.2")
    assert forwarded("web", client=SHOP)
    assert found(ask("cart.shop.hive", client="10.0.0.2")) == [SHOP]


def test_a_projects_own_service_name_wins_over_the_same_one_elsewhere() -> None:
    assert found(ask("db.local", client=SHOP)) == ["10.1.0.8"]
    assert found(ask("db.local")) == ["10.0.1.2"]
    assert found(ask("cart.local")) == [SHOP]


def test_an_own_name_without_healthy_replicas_does_not_lead_elsewhere() -> None:
    zone = Zone.build(
        [
            entry("db", 0, "10.0.1.2", service="db.local"),
            entry("db", 0, "10.1.0.8", project="shop", service="db.local", ready=False),
            entry("cart", 0, SHOP, project="shop"),
        ]
    )
    assert found(ask("db.local", client=SHOP, zone=zone)) == []
    assert found(ask("db", client=SHOP, zone=zone)) == []


def test_nobody_takes_the_name_of_another_projects_app() -> None:
    zone = Zone.build(
        [entry("web", 0, "10.0.0.2"), entry("x", 0, "10.6.6.6", project="a", service="web.default.hive")]
    )
    assert found(ask("web.default.hive", zone=zone)) == ["10.0.0.2"]


def test_a_service_may_stand_right_below_hive() -> None:
    zone = Zone.build([entry("cart", 0, SHOP, project="shop", service="cart.hive")])
    assert found(ask("cart.hive", zone=zone)) == [SHOP]
    assert found(ask("cart.shop.hive", zone=zone)) == [SHOP]


def test_a_replica_that_is_not_ready_yet_asks_in_its_own_project() -> None:
    zone = Zone.build(
        [
            entry("db", 0, "10.0.1.2"),
            entry("db", 0, "10.1.0.8", project="shop"),
            entry("cart", 0, SHOP, project="shop", ready=False),
        ]
    )
    assert found(ask("db", client=SHOP, zone=zone)) == ["10.1.0.8"]


def test_revisions_with_and_without_a_service_stand_side_by_side() -> None:
    zone = Zone.build([entry("web", 0, "10.0.0.2", service="web.local"), entry("web", 0, "10.0.0.3")])
    assert found(ask("web.local", zone=zone)) == ["10.0.0.2"]
    assert sorted(found(ask("web", zone=zone))) == ["10.0.0.2", "10.0.0.3"]


def test_a_declared_name_wins_over_an_app_of_that_name() -> None:
    zone = Zone.build([entry("web", 0, "10.0.0.2"), entry("web-v2", 0, "10.0.0.3", service="web")])
    assert found(ask("web", zone=zone)) == ["10.0.0.3"]
    assert found(ask("web.default.hive", zone=zone)) == ["10.0.0.2"]


def test_old_and_new_attempts_of_a_slot_share_its_name() -> None:
    zone = Zone.build([entry("web", 0, "10.0.0.2"), entry("web", 0, "10.0.0.3")])
    assert sorted(found(ask("0.web.default.hive", zone=zone))) == ["10.0.0.2", "10.0.0.3"]


def test_the_order_turns_with_the_query_id_and_only_with_it() -> None:
    firsts = {id: found(ask("web.local", id=id))[0] for id in range(30)}
    assert {id: found(ask("web.local", id=id))[0] for id in range(30)} == firsts
    assert sorted({list(firsts.values()).count(first) for first in replicas()}) == [10]


def test_the_order_of_the_entries_does_not_matter() -> None:
    other = Zone.build(reversed(WEB))
    assert found(ask("web", zone=other)) == found(ask("web", zone=Zone.build(WEB)))


def big(count: int) -> Zone:
    return Zone.build([entry("web", i, f"10.0.{i // 250}.{i % 250 + 1}") for i in range(count)])


@pytest.mark.parametrize(
    ("edns", "size", "fit"), [(None, 512, 30), (1232, 1232, 75), (4096, 1232, 75), (100, 512, 30)]
)
def test_what_does_not_fit_a_datagram_is_cut_and_says_so(edns: int | None, size: int, fit: int) -> None:
    options = {"use_edns": 0, "payload": edns} if edns else {}
    question = dns.message.make_query("web", "A", **options)  # type: ignore[arg-type]
    response = answer(question.to_wire(), HOST, big(100))
    assert isinstance(response, bytes)
    assert len(response) <= size
    message = dns.message.from_wire(response)
    assert message.flags & dns.flags.TC
    assert len(found(message)) == fit
    whole = answer(question.to_wire(), HOST, big(100), "tcp")
    assert isinstance(whole, bytes)
    message = dns.message.from_wire(whole)
    assert not message.flags & dns.flags.TC
    assert len(found(message)) == 100


def test_a_response_too_long_for_pointers_is_right() -> None:
    zone = Zone.build(
        [entry("web", i, f"10.0.{i // 250}.{i % 250 + 1}", ports=(("80", 80),)) for i in range(900)]
    )
    question = dns.message.make_query("_80._tcp.web", "SRV")
    response = answer(question.to_wire(), HOST, zone, "tcp")
    assert isinstance(response, bytes)
    assert len(response) > 0x4000
    assert len(found(dns.message.from_wire(response))) == 900


def test_edns_is_answered_only_to_those_who_speak_it() -> None:
    assert ask("web").edns == -1
    message = ask("web", use_edns=0, payload=1400)
    assert (message.edns, message.payload) == (0, 1232)
    assert ask("web", use_edns=1).rcode() == dns.rcode.BADVERS
    cookie = dns.edns.GenericOption(10, b"12345678")
    assert len(found(ask("web", use_edns=0, options=[cookie]))) == 3


def test_what_we_do_not_do_is_refused() -> None:
    assert ask("web", rdclass=dns.rdataclass.CH).rcode() == dns.rcode.REFUSED
    assert ask("hive", "AXFR").rcode() == dns.rcode.REFUSED
    update = dns.message.make_query("web", "A")
    update.set_opcode(dns.opcode.STATUS)
    response = answer(update.to_wire(), HOST, ZONE)
    assert isinstance(response, bytes)
    assert dns.message.from_wire(response).rcode() == dns.rcode.NOTIMP


def test_any_gives_all() -> None:
    zone = Zone.build([entry("web", 0, "10.0.0.2"), entry("web", 1, "fd00::2")])
    assert sorted(found(ask("web", "ANY", zone=zone))) == ["10.0.0.2", "fd00::2"]


def test_failure_keeps_question_and_id() -> None:
    question = dns.message.make_query("example.com", "A", use_edns=0)
    query = read_query(question.to_wire())
    assert query is not None
    message = dns.message.from_wire(failure(query))
    assert question.is_response(message)
    assert message.rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_responses_and_scraps_get_no_answer(transport: Transport) -> None:
    response = dns.message.make_response(dns.message.make_query("web", "A")).to_wire()
    for data in (b"", b"\0" * 11, response):
        assert answer(data, HOST, ZONE, transport) is None
