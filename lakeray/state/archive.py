"""Ended runs leave the store for a file in the lake, so that it does not grow without end.

The archive is written before a run is forgotten. A process that dies between the two has the same runs archived again
by whoever comes next: a row is one event, known by ``run_id`` and ``sequence``, and ``archived_events`` takes it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa

from lakeray.state.port import Event, EventStore, RunHead

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("at", _TIME, nullable=False),
        pa.field("data", pa.binary(), nullable=False),
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("workflow", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("started_at", _TIME, nullable=False),
        pa.field("ended_at", _TIME, nullable=False),
        pa.field("parent", pa.string()),
        pa.field("labels", pa.string(), nullable=False),
    ],
    metadata={"lakeray.archive": "1"},
)
"""Columns of an archive, one row an event, with the run's row beside each; ``labels`` is JSON."""

Write = Callable[[str, pa.Table], None]
"""Stores a table under a name, durably, before it returns; the same name again replaces it."""
_RUNS_AT_ONCE = 1000
_BYTES_AT_ONCE = 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long the store keeps what is over.

    ``runs_s`` after it ended, a run goes into the archive; ``answers_s`` after it was answered, a command is forgotten
    and its id means nothing any more. Both in seconds.
    """

    runs_s: float = 30 * 86_400.0
    answers_s: float = 7 * 86_400.0


def clean(store: EventStore, retention: Retention, *, now: datetime, write: Write) -> int:
    """Archive what is over for long enough; how many runs left. Stopped anywhere, it can be done again."""
    store.sweep(now - timedelta(seconds=retention.answers_s))
    before = now - timedelta(seconds=retention.runs_s)
    count = 0
    while heads := store.ended(before, _RUNS_AT_ONCE):
        for some, table in _portions(store, heads):
            write(_name(some), table)
            count += store.forget([head.run_id for head in some])
    return count


def archive_table(runs: Iterable[tuple[RunHead, Sequence[Event]]]) -> pa.Table:
    """The events of runs, in the columns of ``SCHEMA``."""
    rows = [_row(head, event) for head, events in runs for event in events]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def archived_events(table: pa.Table) -> dict[str, list[Event]]:
    """The inverse: every run's events in order, each once, from any number of archives laid behind each other."""
    found: dict[str, dict[int, Event]] = {}
    for row in table.select(Event.__dataclass_fields__).to_pylist():
        event = Event(**row)
        found.setdefault(event.run_id, {})[event.sequence] = event
    return {run_id: [events[sequence] for sequence in sorted(events)] for run_id, events in found.items()}


def _portions(store: EventStore, heads: Sequence[RunHead]) -> Iterable[tuple[list[RunHead], pa.Table]]:
    """Runs, the earliest end first, with their events, about ``_BYTES_AT_ONCE`` at a time."""
    some: list[tuple[RunHead, list[Event]]] = []
    size = 0
    for head in heads:
        events = store.read(head.run_id)
        some.append((head, events))
        size += sum(len(event.data) for event in events)
        if size >= _BYTES_AT_ONCE:
            yield [head for head, _ in some], archive_table(some)
            some, size = [], 0
    if some:
        yield [head for head, _ in some], archive_table(some)


def _row(head: RunHead, event: Event) -> dict[str, Any]:
    return {
        **{name: getattr(event, name) for name in Event.__dataclass_fields__},
        "tenant": head.tenant,
        "workflow": head.workflow,
        "state": head.state,
        "started_at": head.started_at,
        "ended_at": head.ended_at,
        "parent": head.parent,
        "labels": orjson.dumps(dict(head.labels), option=orjson.OPT_SORT_KEYS).decode(),
    }


def _name(heads: Sequence[RunHead]) -> str:
    """The day on which the first run ended, and what is in the archive: the same runs have the same name."""
    ended = heads[0].ended_at
    assert ended is not None
    known = "\n".join(f"{head.sequence} {head.run_id}" for head in heads)
    return f"{ended:%Y-%m-%d}-{hashlib.blake2b(known.encode(), digest_size=8).hexdigest()}"
