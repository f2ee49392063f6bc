"""The shared store against plain models: any writes, losses, partings, crashes and clearings.

The reference puts all entries of all logs into one list, sorts it, and replays it. What never happens: two nodes that
have the same logs see different things; an entry counts although one that its writer had seen comes behind it; what
was forgotten, cleared or sent in part comes back.
"""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_of_replicas import Node, World
from hivemind.protocols.autobee import steps
from hivemind.protocols.autobee.attesting import certified
from hivemind.protocols.autobee.entry import Entry, decode_body, entry_of
from hivemind.protocols.autobee.log import BODY, Piece, cleared, fold, refined, split
from hivemind.protocols.autobee.order import Order, rank
from hivemind.protocols.autobee.tree import Peaks, leaf, spans
from hivemind.protocols.autobee.view import View, proven

KEYS = [f"{room}/{name}" for room in ("x", "y") for name in "abc"]
Step = tuple[str, int, int]
WHAT = [
    "put",
    "put",
    "put",
    "delete",
    "batch",
    "wait",
    "part",
    "heal",
    "crash",
    "fuse",
    "start",
    "clear",
    "lose",
]
WHAT += ["certify"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(WHAT),
        st.integers(0, 3),
        st.integers(0, len(KEYS) - 1),
    ),
    max_size=60,
)


def reference(entries: list[Entry]) -> dict[str, bytes]:
    """All entries in the order that counts, each in place of the one before; a writer's newest only, as it speaks
    for itself."""
    newest: dict[tuple[str, str], Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.sequence):
        newest[entry.key, entry.writer] = entry
    shown: dict[str, bytes] = {}
    for entry in sorted(newest.values(), key=rank):
        if entry.withdrawn:
            continue
        if entry.value is None:
            shown.pop(entry.key, None)
        else:
            shown[entry.key] = entry.value
    return shown


class History:
    """Every entry that was ever signed, by looking at the disks before anything is cleared."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.entries: dict[tuple[str, int], Entry] = {}

    def look(self) -> None:
        for node in self.world.all:
            kept = node.disk.logs.get(node.public)
            for piece in kept.pieces if kept else []:
                body = decode_body(piece.data, piece.start + 1) if piece.level == BODY else None
                if body is not None:
                    self.entries[node.public, body.sequence] = entry_of(body, node.public)


def do(world: World, step: Step, count: int) -> None:
    what, index, number = step
    node = world.all[index % len(world.all)]
    key = KEYS[number]
    match what:
        case "put" if node.up:
            node.write({key: b"%d" % count})
        case "delete" if node.up:
            node.write({key: None})
        case "batch" if node.up:
            node.write(dict.fromkeys(KEYS[: number + 1], b"%d" % count))
        case "wait":
            world.run(0.03 * (number + 1) ** 2)
        case "part":
            world.part([node])
        case "heal":
            world.heal()
        case "crash" if node.up:
            node.crash()
        case "fuse" if node.up:
            node.fuse = number  # dies in the middle of what it does next
        case "start" if not node.up:
            node.start()
        case "clear" if node.up:
            node.compact()
        case "lose":
            world.loss = 0.3
        case "certify" if node.up:
            point = certified({node.public: node.replica.attest(0)}, 1)
            for each in world.all:
                each.tell(steps.Certify(point))


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(0, 1000))
@example([("lose", 0, 0), ("put", 0, 0), ("put", 0, 1)], 0)  # a lost acknowledgement
@example([("put", 0, 0), ("crash", 0, 0), ("start", 0, 0), ("delete", 1, 0), ("put", 2, 0)], 1)
def test_whatever_happens_all_see_what_the_reference_says(steps_: list[Step], seed: int) -> None:
    world = World(4, seed)
    history = History(world)
    for count, step in enumerate(steps_):
        if step[0] == "clear":
            history.look()
        do(world, step, count)
        history.look()
    for node in world.all:
        node.fuse = None
        if not node.up:
            node.start()
    world.heal()
    world.run(20)
    history.look()
    assert world.agree() == reference(list(history.entries.values()))
    assert not any(node.convicted for node in world.all)
    for node in world.all:
        assert node.replica.final > 0 or not history.entries
        node.compact()
        restarted(node)
    world.run(5)
    assert world.agree() == reference(list(history.entries.values()))


def restarted(node: Node) -> None:
    before = node.contents()
    node.crash()
    node.start()
    assert node.contents() == before


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(1, 9),
        st.sampled_from("wxyz"),
        st.sampled_from([b"1", b"2", None, False]),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(ENTRIES, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    said: list[tuple[str, int, str, bytes | None]], dice: object
) -> None:
    entries, lengths = [], dict.fromkeys("wxyz", 0)
    for key, clock, writer, value in said:
        lengths[writer] += 1
        withdrawn = value is False
        entries.append(
            Entry(key, None if withdrawn else value, writer, lengths[writer], 0, clock, withdrawn)  # type: ignore[arg-type]
        )
    expected = reference(entries)
    for _ in range(3):
        order = Order()
        mixed = list(entries)
        dice.shuffle(mixed)  # type: ignore[attr-defined]
        while mixed:
            size = dice.randrange(1, 5)  # type: ignore[attr-defined]
            order.apply(mixed[:size])
            mixed = mixed[size:]
        assert {e.key: e.value for e in order.view} == expected
        order.forget(9)
        assert {e.key: e.value for e in order.view} == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text("abcd", max_size=4), st.none() | st.integers(0, 9), max_size=8), max_size=12
    ),
    st.text("abcd", max_size=3),
    st.text("abcd", max_size=3),
    st.text("abcd", max_size=2),
    st.none() | st.integers(0, 5),
)
def test_the_view_is_a_sorted_dictionary(
    batches: list[dict[str, int | None]], low: str, high: str, prefix: str, limit: int | None
) -> None:
    view, model, versions = View(), dict[str, Entry](), []
    for number, batch in enumerate(batches):
        changes = {
            key: None if value is None else Entry(key, b"%d" % value, "w", number, 0)
            for key, value in batch.items()
        }
        versions.append((view, dict(model)))
        view = view.changed(changes)
        for key, entry in changes.items():
            model.pop(key, None)
            if entry is not None:
                model[key] = entry
        assert [entry.key for entry in view] == sorted(model)
        assert len(view) == len(model)
    again = View().changed(dict(model))
    assert again.digest() == view.digest()
    assert [chunk.keys for chunk in again._chunks] == [chunk.keys for chunk in view._chunks]
    for bounds in ({"gt": low, "lt": high}, {"gte": low, "lte": high}, {"gte": low, "lt": high}, {}):
        inside = [
            key
            for key in sorted(model)
            if key.startswith(prefix)
            and ("gt" not in bounds or key > low)
            and ("gte" not in bounds or key >= low)
            and ("lt" not in bounds or key < high)
            and ("lte" not in bounds or key <= high)
        ]
        assert [e.key for e in view.range(prefix, **bounds, limit=limit)] == inside[:limit]
        assert [e.key for e in view.range(prefix, **bounds, limit=limit, reverse=True)] == inside[::-1][
            :limit
        ]
    for older, was in versions:
        assert {e.key: e for e in older} == was
        found = {d.key: (d.old, d.new) for d in view.diff(older)}
        wanted = {
            k: (was.get(k), model.get(k)) for k in was.keys() | model.keys() if was.get(k) != model.get(k)
        }
        assert found == wanted
    for key, entry in model.items():
        proof = view.prove(key)
        assert proof is not None
        assert proven(proof, entry, view.digest())
        assert not proven(proof, Entry(key, b"other", "w", 0, 0), view.digest())


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 70), st.sets(st.integers(1, 70)), st.sets(st.integers(1, 70)), st.integers(0, 70))
def test_clearing_proving_and_refining_never_change_the_root(
    size: int, keep: set[int], shown: set[int], at: int
) -> None:
    whole = [Piece(index, BODY, b"%d" % index) for index in range(size)]
    peaks = Peaks()
    assert fold(peaks, whole)
    assert Peaks(size, peaks.hashes).root() == peaks.root()
    part = cleared(whole, keep.__contains__)
    proof = cleared(whole, shown.__contains__)
    for pieces in (part, proof, cleared(part, shown.__contains__), refined(part, proof)):
        other = Peaks()
        assert fold(other, pieces)
        assert other.root() == peaks.root()
    kept = {piece.start + 1 for piece in refined(part, proof) if piece.level == BODY}
    assert kept == (keep | shown) & set(range(1, size + 1))
    nodes = [(piece.start, piece.level) for piece in cleared(whole[at:], lambda _: False)]
    assert nodes == list(spans(min(at, size), size))
    if parted := split(part, at):
        assert parted[0] + parted[1] == part
    if whole:
        assert cleared(whole, lambda _: False)[0].data == peaks.hashes[0]
        assert cleared(whole[:1], lambda _: False) == [Piece(0, 0, leaf(b"0"))]
