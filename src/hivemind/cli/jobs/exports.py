"""A graph for other programs to draw: Mermaid and DOT."""

from __future__ import annotations

import json
import re

from hivemind.cli.jobs.shape import HOOKS, Shape

_COLOURS = {
    "succeeded": "#b7e1b0", "running": "#a9d3f5", "failed": "#f3b0a9", "timed out": "#f3b0a9", "lost": "#f3b0a9",
    "blocked": "#f5e0a3", "queued": "#f5e0a3", "canceled": "#dddddd", "skipped": "#eeeeee",
}  # fmt: skip


def mermaid(root: Shape) -> list[str]:
    """A flowchart; groups are subgraphs."""
    found = ["flowchart TD"]
    _mermaid_group(root, found, 1)
    for shape in root.each():
        for need, outcome in shape.needs.items():
            arrow = "-->" if outcome == "success" else f'-->|"{_escaped(outcome)}"|'
            found.append(f"    {_id(need)} {arrow} {_id(shape.path)}")
    for state, colour in _COLOURS.items():
        if any(shape.state == state for shape in root.each()):
            found.append(f"    classDef {_id(state)} fill:{colour}")
    coloured = [s for s in root.each() if s.path and not s.below and s.state in _COLOURS]
    return found + [f"    class {_id(shape.path)} {_id(shape.state)}" for shape in coloured]


def _mermaid_group(group: Shape, found: list[str], depth: int) -> None:
    indent = "    " * depth
    for shape in group.below:
        name = _escaped(_label(shape))
        if shape.below:
            found.append(f'{indent}subgraph {_id(shape.path)}["{name}"]')
            _mermaid_group(shape, found, depth + 1)
            found.append(f"{indent}end")
        else:
            left, right = ("{{", "}}") if shape.role == "approval" else ("[", "]")
            found.append(f'{indent}{_id(shape.path)}{left}"{name}"{right}')


def _escaped(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace("\n", " ")


def _id(path: str) -> str:
    """Letters, digits and _ only, and different for different paths."""
    return "t_" + re.sub(r"[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):x}_", path)


def _label(shape: Shape) -> str:
    return shape.path if shape.name not in HOOKS else shape.name.replace("_", " ")


def dot(root: Shape, name: str) -> list[str]:
    """Graphviz; groups are clusters."""
    found = [
        f"digraph {json.dumps(name)} {{",
        "    compound=true;",
        '    node [shape=box, style="rounded,filled"];',
    ]
    _dot_group(root, found, 1)
    anchors = {shape.path: _anchor(shape) for shape in root.each()}
    for shape in root.each():
        for need, outcome in shape.needs.items():
            options = [] if outcome == "success" else [f"label={json.dumps(outcome, ensure_ascii=False)}"]
            if anchors[need] != need:
                options.append(f"ltail={json.dumps('cluster ' + need)}")
            if anchors[shape.path] != shape.path:
                options.append(f"lhead={json.dumps('cluster ' + shape.path)}")
            more = f" [{', '.join(options)}]" if options else ""
            found.append(f"    {json.dumps(anchors[need])} -> {json.dumps(anchors[shape.path])}{more};")
    return [*found, "}"]


def _dot_group(group: Shape, found: list[str], depth: int) -> None:
    indent = "    " * depth
    for shape in group.below:
        if shape.below:
            found.append(f"{indent}subgraph {json.dumps('cluster ' + shape.path)} {{")
            found.append(f"{indent}    label={json.dumps(_label(shape))};")
            _dot_group(shape, found, depth + 1)
            found.append(f"{indent}}}")
        else:
            colour = _COLOURS.get(shape.state, "#ffffff")
            found.append(
                f"{indent}{json.dumps(shape.path)} [label={json.dumps(_label(shape))}, fillcolor={json.dumps(colour)}];"
            )


def _anchor(shape: Shape) -> str:
    """An edge of DOT ends at a node: of a group, at the first in it."""
    while shape.below:
        shape = shape.below[0]
    return shape.path
