"""The combinations of a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from hivemind.errors import Invalid

Combination = dict[str, Any]


def combinations(
    values: Mapping[str, Sequence[Any]],
    include: Sequence[Mapping[str, Any]] = (),
    exclude: Sequence[Mapping[str, Any]] = (),
    most: int = 100_000,
) -> list[Combination]:
    """All combinations, the last name varying fastest, without those that agree with one of `exclude` in all that it
    names. Each of `include` adds what it has to those combinations whose values it does not contradict; where there
    are none, it is one of its own. Raises `Invalid` for more than `most`."""
    if (count := math.prod(len(each) for each in values.values())) > most:
        raise Invalid(f"a matrix of {count:,} combinations is too large: the most is {most:,}")
    made: list[Combination] = []
    if values:
        made = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
    made = [each for each in made if not any(_agree(each, out) for out in exclude)]
    further: list[Combination] = []
    for extra in include:
        own = {name: value for name, value in extra.items() if name in values}
        fitting = [each for each in made if _agree(each, own)]
        for each in fitting:
            each.update(extra)
        if not fitting:
            further.append(dict(extra))
    return made + further


def _agree(combination: Combination, wished: Mapping[str, Any]) -> bool:
    return all(name in combination and combination[name] == value for name, value in wished.items())
