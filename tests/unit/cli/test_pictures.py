"""Graphs, trees and Gantt charts, reviewed as drawings in `pictures/`. `REDRAW=1` draws them anew."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from hivemind.cli.jobs import exports, gantt, graph, tree
from hivemind.cli.jobs.canvas import Canvas
from hivemind.cli.jobs.marks import ASCII, UNICODE, Marks, marks_for, span
from hivemind.cli.jobs.shape import Shape, layers, shape_of
from hivemind.cli.tables import display_width
from hivemind.cli.terminal import Terminal
from hivemind.jobs.definition import read
from hivemind.model.job import JobSpec
from hivemind.model.run import Attempt, RunDocument, Start, Tally, TaskRunDocument

PICTURES = Path(__file__).parent / "pictures"
T = 1_000_000
NOW = T + 15_000


def plain(text: str, state: str) -> str:
    return text


def spec() -> JobSpec:
    return read(
        {
            "name": "nightly",
            "tasks": {
                "get": {"run": "x"},
                "clean": {"run": "x", "needs": ["get"], "retry": {"max": 2}},
                "stats": {"run": "x", "needs": ["get"]},
                "build": {"run": "x", "needs": ["get"], "matrix": {"os": ["a", "b"]}},
                "train": {"run": "x", "needs": ["clean"]},
                "alert": {"run": "x", "needs": {"train": "failure"}},
                "report": {
                    "run": "x",
                    "needs": {"train": "success", "stats": "done", "get": "exit_code == 0"},
                },
                "ml": {"needs": ["build"], "tasks": {"a": {"run": "x"}, "b": {"run": "x", "needs": ["a"]}}},
                "gate": {"needs": ["ml"], "approval": {"message": "really?"}},
            },
            "finally": {"tidy": {"run": "x"}},
        }
    ).spec


def attempt(number: int, started: int, ended: int, exit_code: int = 0) -> Attempt:
    return Attempt(
        number=number, allocations=("a",), nodes=("n",), started=T + started, ended=T + ended, exit_code=exit_code
    )  # fmt: skip


def task(
    path: str, state: str, role: str = "task", started: int = -1, ended: int = -1, **more: object
) -> TaskRunDocument:
    attempts = more.pop("attempts", ())
    known = {
        "path": path, "role": role, "state": state, "reason": "", "needs": (), "attempt": len(attempts),  # type: ignore[arg-type]
        "attempts": attempts, "nodes": ("node-1",) if started >= 0 else (), "exit_code": None, "item": None,
        "outputs": {}, "due": 0, "created": T, "started": T + started if started >= 0 else 0,
        "ended": T + ended if ended >= 0 else 0, "marks": (),
    }  # fmt: skip
    return TaskRunDocument(**{**known, **more})  # type: ignore[arg-type]


def tasks() -> list[TaskRunDocument]:
    return [
        task("get", "succeeded", started=0, ended=2100, attempts=(attempt(1, 0, 2100),)),
        task("clean", "succeeded", started=2100, ended=9000,
             attempts=(attempt(1, 2100, 4000, 3), attempt(2, 6000, 9000))),
        task("stats", "failed", started=2100, ended=3000, reason="exit code 2", exit_code=2,
             attempts=(attempt(1, 2100, 3000, 2),)),
        task("train", "running", started=9000, attempt=1),
        task("build", "running", "fan-out", started=2100),
        *(
            task(f"build[{n}]", "succeeded" if n % 7 else "failed", started=2100 + n * 300, ended=2500 + n * 300,
                 item={"os": n}, reason="" if n % 7 else "exit code 1")
            for n in range(20)
        ),
        task("report", "pending", reason="waits for train"),
        task("alert", "pending", reason="waits for train"),
        task("ml", "pending", "group", reason="waits for build"),
        task("ml.a", "pending"),
        task("ml.b", "pending"),
        task("gate", "pending", "approval"),
    ]  # fmt: skip


def run(state: str = "running", ended: int = 0) -> RunDocument:
    return RunDocument(
        project="default", name="nightly-7", id="x" * 12, job="nightly", definition=1,
        start=Start(kind="person", by="ada"), inputs={}, priority=50, state=state, reason="", paused=False, late=False,
        outputs={}, tally=Tally(total=29, running=1, succeeded=19, failed=4, waiting=5), created=T, started=T,
        ended=ended, marks=(),
    )  # fmt: skip


def picture(name: str) -> list[str]:
    marks: Marks = ASCII if name.endswith("ascii") else UNICODE
    whole, bare = shape_of(spec(), tasks()), shape_of(spec())
    drawn = {
        "graph": lambda: graph.draw(bare, marks, 80) or [],
        "graph-ascii": lambda: graph.draw(bare, marks, 80) or [],
        "graph-run": lambda: [*(graph.draw(whole, marks, 80, plain, NOW) or []), graph.legend(whole, marks)],
        "tree": lambda: tree.lines(bare, marks, 80, plain, NOW),
        "status": lambda: [tree.headline(run(), NOW), *tree.lines(whole, marks, 80, plain, NOW)],
        "status-all-ascii": lambda: tree.lines(whole, marks, 60, plain, NOW, everything=True),
        "gantt": lambda: gantt.lines(run(), whole, marks, 80, plain, NOW),
        "gantt-ascii": lambda: gantt.lines(run(), whole, marks, 60, plain, NOW),
        "mermaid": lambda: exports.mermaid(whole),
        "dot": lambda: exports.dot(bare, "nightly"),
    }
    return drawn[name]()


NAMES = ("graph", "graph-ascii", "graph-run", "tree", "status", "status-all-ascii", "gantt", "gantt-ascii", "mermaid",
         "dot")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_is_drawn_as_reviewed(name: str) -> None:
    drawn, file = "\n".join(picture(name)) + "\n", PICTURES / f"{name}.txt"
    if os.environ.get("REDRAW"):
        file.write_text(drawn)
    assert drawn == file.read_text()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("mermaid", "dot")])
def test_fits_the_terminal(name: str) -> None:
    assert max(display_width(line) for line in picture(name)) <= 80


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("ascii")])
def test_plain_letters_are_plain(name: str) -> None:
    assert "\n".join(picture(name)).isascii()


def test_a_graph_too_wide_is_told_so() -> None:
    wide = read({"name": "wide", "tasks": {f"task-{n}": {"run": "x"} for n in range(20)}}).spec
    assert graph.draw(shape_of(wide), UNICODE, 80) is None


def test_a_chain_of_thousands_is_laid_out() -> None:
    chain = {f"t{n}": {"run": "x", **({"needs": [f"t{n - 1}"]} if n else {})} for n in range(3000)}
    shape = shape_of(read({"name": "chain", "tasks": chain}).spec)
    assert len(layers(shape.below)) == 3000
    assert graph.draw(shape, UNICODE, 80)


def edges(lines: list[str]) -> set[tuple[str, str]]:
    """Which box leads to which, as somebody reads it who follows the lines."""
    grid = [list(line) for line in lines]
    boxes: dict[tuple[int, int], str] = {}
    for y, row in enumerate(lines):
        x = 0
        while (x := row.find("│ □ ", x)) >= 0:
            end = row.index(" │", x + 2)
            for column in range(x, end + 2):
                boxes[y, column] = row[x + 4 : end].strip()
            x = end + 2
    open_to = {"│": "ud", "─": "lr", "┌": "dr", "┐": "dl", "└": "ur", "┘": "ul", "├": "udr", "┤": "udl",
               "┬": "dlr", "┴": "ulr", "┼": "udlr", "▼": "u"}  # fmt: skip
    step = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
    back = {"u": "d", "d": "u", "l": "r", "r": "l"}

    def at(y: int, x: int) -> str:
        return grid[y][x] if 0 <= y < len(grid) and 0 <= x < len(grid[y]) else " "

    found = set()
    for y, row in enumerate(lines):
        for x, character in enumerate(row):
            if character != "┬" or (y - 1, x) not in boxes:
                continue
            seen, waiting = set(), [(y + 1, x, "u")]
            while waiting:
                cy, cx, came = waiting.pop()
                if (cy, cx, came) in seen or came not in open_to.get(at(cy, cx), ""):
                    continue
                seen.add((cy, cx, came))
                if at(cy, cx) == "▼":
                    found.add((boxes[y - 1, x], boxes[cy + 2, cx]))
                    continue
                ways = open_to[at(cy, cx)]
                # Lines only go down; two that cross do not meet.
                onward = [back[came]] if at(cy, cx) == "┼" else [w for w in ways if w not in (came, "u")]
                waiting += [(cy + step[w][0], cx + step[w][1], back[w]) for w in onward]
    return found


def test_every_need_is_a_line_from_box_to_box() -> None:
    needs = {"b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["b"], "f": ["d", "e"]}
    written = {id: {"run": "x", "needs": needs.get(id, [])} for id in "abcdef"}
    drawn = graph.draw(shape_of(read({"name": "g", "tasks": written}).spec), UNICODE, 80)
    assert drawn is not None
    assert {(n, id) for id, of in needs.items() for n in of} <= edges(drawn)


def test_the_critical_path_leads_back_over_what_was_waited_for() -> None:
    done = [t if t.state != "running" or t.role != "task" else task("train", "succeeded", started=9000, ended=12_000)
            for t in tasks()]  # fmt: skip
    shape: Shape = shape_of(spec(), [*done, task("finally", "succeeded", "group", started=12_000, ended=12_100),
                                     task("finally.tidy", "succeeded", started=12_000, ended=12_100)])  # fmt: skip
    assert [s.path for s in gantt.critical_path(shape, NOW)] == ["get", "clean", "train", "finally.tidy"]


def test_times_are_short() -> None:
    shown = [span(ms) for ms in (0, 80, 999, 1000, 2140, 42_400, 59_700, 185_000, 7_620_000)]
    assert shown == ["0ms", "80ms", "999ms", "1.0s", "2.1s", "42s", "1m00s", "3m05s", "2h07m"]


def test_terminals_without_unicode_get_plain_letters() -> None:
    latin = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert marks_for(Terminal(latin, io.StringIO())) is ASCII
    assert marks_for(Terminal(io.StringIO(), io.StringIO())) is UNICODE
    assert marks_for(Terminal(io.StringIO(), io.StringIO()), ascii=True) is ASCII


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("not a file")


def test_a_canvas_is_painted_over_and_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(Screen(), Screen())
    with Canvas(terminal) as canvas:
        canvas.paint(["one", "two"])
        canvas.say(["stays"])
        canvas.paint([str(n) for n in range(100)])
        canvas.clear()
    shown = terminal.err.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2A\x1b[Jstays\n" in shown
    assert "more lines" in shown
    assert shown.endswith("\x1b[23A\x1b[J\x1b[?25h")


def test_without_a_terminal_only_what_stays_is_printed() -> None:
    terminal = Terminal(io.StringIO(), io.StringIO())
    with Canvas(terminal) as canvas:
        canvas.paint(["one"])
        canvas.say(["stays"])
        canvas.clear()
    assert terminal.err.getvalue() == "stays\n"  # type: ignore[attr-defined]


def test_a_group_stands_below_what_a_task_in_it_needs() -> None:
    inner = {"tasks": {"b": {"run": "x", "needs": {"z": "failure"}}}}
    found = read({"name": "n", "tasks": {"a": inner, "z": {"run": "x"}}}).spec
    drawn = graph.draw(shape_of(found), ASCII, 80, plain)
    assert drawn
    text = "\n".join(drawn)
    assert text.index(" z ") < text.index(" a (group) ")
    assert "x" in drawn[drawn.index(next(line for line in drawn if "a (group)" in line)) - 2]
