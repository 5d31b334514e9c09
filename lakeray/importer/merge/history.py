"""What mode scd2 makes of the changes of each key: one row for each state that ever held, since when, until when.

All that is known of a key becomes events in the order of the sequence: the states that the table has, the deletes that
ended some of them or are remembered, the new changes. From them its rows are made anew, so that a late change falls
into its place whenever it comes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.merge.keys import group_ends, key_array
from lakeray.importer.merge.latest import Folded
from lakeray.importer.merge.lookup import Places
from lakeray.importer.merge.rules import DELETE, OBJECT, ROW, ChangeRules
from lakeray.spec.merge import History

_AT, _RANK, _KEY, _CHANGE = "_event_at", "_event_rank", "_event_key", "_event_change"
_PAST_DELETE, _PAST_STATE, _NEW = 0, 1, 2
"""Of events at one point of the sequence the one of the highest rank holds: what the table shows has already won over
any delete that is known, and a new change comes after both."""


def rebuilt(changes: pa.Table, rules: ChangeRules, schema: pa.Schema, *, old: pa.Table, tombstones: pa.Table) -> Folded:
    """The rows of every key of ``changes``, from all its rows in the table (``old``) and its remembered deletes
    (``tombstones``: key and sequence).
    """
    sequence, history = _needs(rules)
    events = _events(changes, rules, schema, old=old, tombstones=tombstones)
    events = events.take(
        pc.sort_indices(
            events,
            sort_keys=[(name, "ascending", "at_start") for name in (_KEY, _AT, _RANK, OBJECT, ROW)],
        )
    )
    keys = _plain(events.column(_KEY))
    number = events.column(_CHANGE).to_numpy()
    kept = group_ends(keys) | _next_differs(events.column(_AT))
    events, number, keys = events.filter(pa.array(kept)), number[kept], keys.filter(pa.array(kept))
    if history.skip_unchanged:
        kept = ~(_repeats(events, keys, _compared(schema, sequence, history)) & (number >= 0))
        events, number, keys = events.filter(pa.array(kept)), number[kept], keys.filter(pa.array(kept))
    effective = np.zeros(changes.num_rows, dtype=bool)
    effective[number[number >= 0]] = True
    at, ends = _plain(events.column(_AT)), group_ends(keys)
    following = np.minimum(np.arange(len(at)) + 1, max(len(at) - 1, 0))
    until = at.take(pa.array(following, mask=ends))
    deletes = events.column(DELETE)
    columns = {history.valid_from: at, history.valid_to: until, history.is_current: pc.is_null(until)}
    rows = pa.Table.from_arrays(
        [columns.get(item.name, events.column(item.name)) for item in schema], schema=schema
    ).filter(pc.invert(deletes))
    new_deletes = changes.filter(pa.array(effective & np.asarray(changes.column(DELETE).to_numpy(), dtype=bool)))
    return Folded(rows=rows, deletes=new_deletes, effective=effective)


def _needs(rules: ChangeRules) -> tuple[str, History]:
    """Sequence and names of the history, which mode scd2 always has."""
    assert rules.sequence is not None
    assert rules.history is not None
    return rules.sequence, rules.history


def _events(
    changes: pa.Table, rules: ChangeRules, schema: pa.Schema, *, old: pa.Table, tombstones: pa.Table
) -> pa.Table:
    """Everything that is known of the keys of ``changes``; ``_CHANGE`` is a new change's place there, else -1."""
    sequence, history = _needs(rules)
    new = _event_table(
        changes,
        schema,
        rules,
        at=changes.column(sequence),
        rank=_NEW,
        delete=changes.column(DELETE),
        order=(changes.column(OBJECT), changes.column(ROW)),
        change=np.arange(changes.num_rows),
    )
    states = _event_table(old, schema, rules, at=old.column(history.valid_from), rank=_PAST_STATE)
    # A state that another state ended has an end, too; at that point the other state outranks it.
    ended = old.filter(pc.is_valid(old.column(history.valid_to)))
    ends = _event_table(ended, schema, rules, at=ended.column(history.valid_to), rank=_PAST_DELETE, delete=True)
    known, count = set(tombstones.column_names), tombstones.num_rows
    gone = pa.table(
        {item.name: tombstones[item.name] if item.name in known else pa.nulls(count, item.type) for item in schema}
    )
    deletes = _event_table(gone, schema, rules, at=tombstones.column(sequence), rank=_PAST_DELETE, delete=True)
    return pa.concat_tables([new, states, ends, deletes])


def _event_table(
    table: pa.Table,
    schema: pa.Schema,
    rules: ChangeRules,
    *,
    at: pa.ChunkedArray,
    rank: int,
    delete: pa.ChunkedArray | bool = False,
    order: tuple[Any, Any] | None = None,
    change: Places | None = None,
) -> pa.Table:
    count = table.num_rows
    zeros = pa.array(np.zeros(count, dtype=np.int64))
    columns: dict[str, Any] = {item.name: table.column(item.name) for item in schema}
    columns[_KEY] = key_array(table, rules.key)
    columns[_AT] = at
    columns[_RANK] = pa.array(np.full(count, rank, dtype=np.int8))
    columns[OBJECT] = order[0].cast(pa.int64()) if order else zeros
    columns[ROW] = order[1] if order else zeros
    columns[DELETE] = pa.array(np.full(count, delete)) if isinstance(delete, bool) else delete
    columns[_CHANGE] = pa.array(np.full(count, -1, dtype=np.int64) if change is None else change)
    return pa.table(columns)


def _compared(schema: pa.Schema, sequence: str, history: History) -> list[str]:
    """The columns whose values make a state: not those that say when it held, or where it came from."""
    apart = {sequence, history.valid_from, history.valid_to, history.is_current}
    return [name for name in schema.names if name not in apart and not name.startswith("_lakeray_")]


def _plain(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def _next_differs(column: pa.ChunkedArray) -> Places:
    """For each value whether the next is another; null equals null."""
    return np.append(~same_as_next(column), True)


def same_as_next(column: pa.ChunkedArray) -> Places:
    """For each value but the last whether the next is equal; null equals null."""
    values = _plain(column)
    count = len(values)
    if count < 2:  # noqa: PLR2004 - there is no pair
        return np.zeros(max(count - 1, 0), dtype=bool)
    return same(values.slice(0, count - 1), values.slice(1))


def same(one: pa.Array, other: pa.Array) -> Places:
    """Where two arrays hold the same; null equals null, and NaN equals NaN."""
    if pa.types.is_nested(one.type):
        pairs = zip(one.to_pylist(), other.to_pylist(), strict=True)
        return np.fromiter((repr(a) == repr(b) for a, b in pairs), dtype=bool, count=len(one))
    both_null = pc.and_(pc.is_null(one, nan_is_null=True), pc.is_null(other, nan_is_null=True))
    equal = pc.fill_null(pc.equal(one, other), False)
    return np.asarray(pc.or_(equal, both_null).to_numpy(zero_copy_only=False), dtype=bool)


def _repeats(events: pa.Table, keys: pa.Array, columns: list[str]) -> Places:
    """For each event whether it is a state equal to the state right before it, of the same key."""
    count = events.num_rows
    repeats = np.zeros(count, dtype=bool)
    if count < 2:  # noqa: PLR2004 - there is no pair
        return repeats
    deletes = np.asarray(events.column(DELETE).to_numpy(), dtype=bool)
    alike = ~group_ends(keys)[:-1] & ~deletes[:-1] & ~deletes[1:]
    for name in columns:
        alike &= same_as_next(events.column(name))
    repeats[1:] = alike
    return repeats
