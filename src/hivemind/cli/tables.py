"""Tables that line up, in any script, and fit the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_GAP, _NARROW_GAP = 3, 2
_LEAST, _NARROWEST = 8, 5
"""A column is not cut below the first while another one is wider, and below the second never."""

Paint = Callable[[str], str]


def display_width(text: str) -> int:
    """Columns that `text` takes on a terminal: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    width = 0
    for char in text:
        if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
            continue
        width += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return width


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, an ellipsis where something is missing."""
    if display_width(text) <= width:
        return text
    kept, used = "", 0
    for char in text:
        wide = display_width(char)
        if used + wide > width - 1:
            break
        kept, used = kept + char, used + wide
    return kept + "…"


def pad(text: str, width: int) -> str:
    return text + " " * max(width - display_width(text), 0)


def printable(text: str) -> str:
    """One line without control characters: what a container wrote must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text) if not text.isprintable() else text


def render(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    paint: Callable[[str], str] | None = None,
) -> list[str]:
    """Lines, the headers first. Too wide a table loses text from its longest columns, the last of equals first.

    `paint` colours a whole cell and must not change its width.
    """
    cells = [[printable(c) for c in row] for row in rows]
    widths = [max(display_width(c) for c in column) for column in zip(headers, *cells, strict=True)]
    gap = _GAP if sum(widths) + _GAP * (len(widths) - 1) <= width else _NARROW_GAP
    _fit(widths, [display_width(h) for h in headers], width, gap)
    lines = []
    for number, row in enumerate([list(headers), *cells]):
        shown = []
        for cell, size in zip(row, widths, strict=True):
            short = cut(cell, size)
            coloured = paint(short) if paint and number else short
            shown.append(coloured + " " * (size - display_width(short)))
        lines.append((" " * gap).join(shown).rstrip())
    return lines


def _fit(widths: list[int], headers: Sequence[int], width: int, gap: int) -> None:
    """Shrinks `widths` in place until the table fits. Headers are cut only when nothing else is left to cut."""
    for floors in ([max(header, _LEAST) for header in headers], [_NARROWEST] * len(headers)):
        _shrink(widths, floors, sum(widths) + gap * (len(widths) - 1) - width)


def _shrink(widths: list[int], floors: Sequence[int], spare: int) -> None:
    while spare > 0:
        room = [max(w - low, 0) for w, low in zip(widths, floors, strict=True)]
        if not any(room):
            return
        longest = max(w for w, r in zip(widths, room, strict=True) if r)
        index = max(i for i, (w, r) in enumerate(zip(widths, room, strict=True)) if r and w == longest)
        widths[index] -= 1
        spare -= 1
