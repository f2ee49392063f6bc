"""The event: something that happened, as a node saw it. Kept in the shared store, newest last."""

from __future__ import annotations

from typing import Literal

from hivemind.model.base import Record
from hivemind.model.resource import Column, Resource


class Event(Record, frozen=True, kw_only=True, omit_defaults=False):
    """`id` is `<milliseconds>-<counter>-<writer>` in fixed width, so that ids sort by time; of what was agreed
    `<milliseconds>-<batch>-<number>`."""

    kind: Literal["Event"] = "Event"
    id: str
    time: int
    """Milliseconds since 1970."""
    type: str
    """A dotted verb: `allocation.started`, `allocation.exited`, `app.deployed`, `node.cordoned`."""
    level: Literal["info", "warning"] = "info"
    project: str = ""
    app: str = ""
    allocation: str = ""
    node: str = ""
    """The id of the node that saw it; empty: it was agreed, so all know it."""
    by: str = ""
    message: str = ""
    name: str = ""
    """The object it is about, for tables: `app` or `node` name."""


EVENT = Resource(
    kind="Event",
    plural="events",
    short="ev",
    scope="hive",
    document=Event,
    columns=(
        Column("AGE", "time", format="age"),
        Column("TYPE", "type"),
        Column("OBJECT", "name"),
        Column("ALLOCATION", "allocation", wide=True),
        Column("BY", "by"),
        Column("MESSAGE", "message"),
    ),
)
