"""The language of conditions, fan-outs, keys and templates. Signatures first; the rest follows within minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivemind.jobs.expression.sealed import Sealed

__all__ = ["Sealed", "check", "evaluate", "references", "render", "truth"]


def evaluate(text: str, scope: Mapping[str, Any]) -> Any:
    """The value of an expression, bare or within `${{ … }}`. Raises `Invalid`, and nothing else."""
    raise NotImplementedError


def truth(text: str, scope: Mapping[str, Any]) -> bool:
    """Whether an expression holds: false are `false`, `null`, 0, "" and empty lists and objects."""
    raise NotImplementedError


def render(template: Any, scope: Mapping[str, Any]) -> Any:
    """A template that is exactly one `${{ … }}` keeps its type; otherwise text, in which each is replaced by its
    value: strings as they are, all else as JSON. Lists and objects are rendered member by member."""
    raise NotImplementedError


def references(text: str) -> frozenset[tuple[str, ...]]:
    """The dotted paths that an expression or a template reads, up to the first index that is not fixed."""
    raise NotImplementedError


def check(text: str) -> None:
    """Raises `Invalid` unless it can be understood, as an expression or as a template."""
    raise NotImplementedError
