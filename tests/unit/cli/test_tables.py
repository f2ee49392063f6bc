"""Tables line up and fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hivemind.cli.output import age
from hivemind.cli.tables import cut, display_width, printable, render


def test_columns_line_up_also_with_wide_and_combining_characters() -> None:
    lines = render(("NAME", "X"), [("蜂群", "1"), ("cafe\u0301", "2"), ("abcdef", "3")], 80)
    assert [display_width(line[: line.rindex(c)]) for line, c in zip(lines, "X123", strict=True)] == [
        9,
        9,
        9,
        9,
    ]


def test_the_longest_column_gives_way_first() -> None:
    lines = render(("NAME", "MESSAGE"), [("web", "a very long message that does not fit")], 24)
    assert lines == ["NAME  MESSAGE", "web   a very long messa…"]


def test_nothing_is_cut_without_a_terminal() -> None:
    assert render(("A",), [("x" * 5000,)], 10**6)[1] == "x" * 5000


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31mb\nc") == "a [31mb c"
    assert "\x1b" not in "".join(render(("A",), [("\x1b]0;title\x07",)], 80))


def test_paint_does_not_move_columns() -> None:
    plain = render(("A", "B"), [("ok", "1"), ("failing", "2")], 80)
    painted = render(("A", "B"), [("ok", "1"), ("failing", "2")], 80, lambda cell: f"<{cell}>")
    assert [line.replace("<", "").replace(">", "") for line in painted] == plain


@given(st.text(max_size=40), st.integers(2, 30))
def test_cut_text_fits(text: str, width: int) -> None:
    clean = printable(text)
    assert display_width(cut(clean, width)) <= width


@given(st.lists(st.tuples(*[st.text("abc ü蜂", max_size=30)] * 3), max_size=6), st.integers(45, 120))
def test_a_table_fits_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    assert all(display_width(line) <= width for line in render(("A", "B", "C"), rows, width))


def test_ages_are_one_unit() -> None:
    now = 1_000_000.0
    assert [age(int((now - s) * 1000), now) for s in (0, 59, 119, 120, 3 * 3600, 50 * 3600, -5)] == [
        "0s", "59s", "119s", "2m", "3h", "2d", "0s",
    ]  # fmt: skip
    assert age(0, now) == "-"
