"""What mode merge makes of the changes of each key: the latest state, or a partial update's sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.merge.keys import group_ends, key_array
from lakeray.importer.merge.lookup import Places
from lakeray.importer.merge.rules import DELETE, MARKS, OBJECT, ROW, WHOLE, ChangeRules


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """What becomes of a share of changes.

    ``rows``: the new state in the table's columns, to be written; ``deletes``: the changes that delete, which are
    remembered; ``effective``: for each change of the share whether it took effect.
    """

    rows: pa.Table
    deletes: pa.Table
    effective: Places


def last_of_each(changes: pa.Table, late: Places, schema: pa.Schema) -> Folded:
    """For changes that are the latest of their key: all that are not ``late`` (a mask) take effect."""
    lives = changes if not late.any() else changes.filter(pa.array(~late))
    deletes = lives.column(DELETE)
    if not pc.any(deletes).as_py():
        return Folded(rows=lives.select(schema.names), deletes=lives.slice(0, 0), effective=~late)
    rows = lives.filter(pc.invert(deletes)).select(schema.names)
    return Folded(rows=rows, deletes=lives.filter(deletes), effective=~late)


def summed(
    changes: pa.Table, rules: ChangeRules, late: Places, schema: pa.Schema, *, old: pa.Table, tombstones: pa.Table
) -> Folded:
    """For partial updates: each key's changes in order, on top of the row (``old``) that they meet.

    ``tombstones`` (key and sequence) are deletes of earlier batches. Null in a change that is not whole keeps what is
    there; a delete takes everything away.
    """
    if rules.sequence is not None:
        late = late | _overtaken(changes, rules, rules.sequence, old, tombstones)
    lives = changes.filter(pa.array(~late))
    with_old = pa.concat_tables([_as_changes(old, schema, lives.schema), lives]) if old.num_rows else lives
    keys = key_array(with_old, rules.key)
    places = pc.sort_indices(pa.table({"k": keys}), sort_keys=[("k", "ascending")])  # stable: old rows come first
    events = with_old.take(places)
    ends = group_ends(keys.take(places))
    touched = _touched(events, ends)
    last = np.flatnonzero(ends)[touched[ends]]
    deleted = _mask(events, DELETE)
    done = last[~deleted[last]]
    start = _starts(events, ends)[done]
    columns = []
    for item in schema:
        column = events.column(item.name)
        valid = pc.is_valid(column).to_numpy()
        newest = np.maximum.accumulate(np.where(valid, np.arange(len(valid)), -1))[done]
        columns.append(column.take(pa.array(newest, mask=newest < start)))
    rows = pa.Table.from_arrays(columns, schema=schema)
    deletes = events.take(pa.array(last[deleted[last]]))
    return Folded(rows=rows, deletes=deletes, effective=~late)


def _mask(table: pa.Table, name: str) -> Places:
    return np.asarray(table.column(name).to_numpy(), dtype=bool)


def _as_changes(old: pa.Table, schema: pa.Schema, wanted: pa.Schema) -> pa.Table:
    """Rows of the table as whole changes from before the first object."""
    count = old.num_rows
    marks = {OBJECT: -1, ROW: 0, DELETE: False, WHOLE: True}
    table = old.select(schema.names)
    for item in MARKS:
        table = table.append_column(item, pa.repeat(pa.scalar(marks[item.name], item.type), count))
    return table.cast(wanted)


def _touched(events: pa.Table, ends: Places) -> Places:
    """Whether the group that each event ends holds a change of this batch: its last one then is one."""
    return np.asarray(events.column(OBJECT).to_numpy() >= 0) & ends


def _starts(events: pa.Table, ends: Places) -> Places:
    """For each event the first whose values still count: since its key's first, its last whole or after a delete."""
    count = len(ends)
    at = np.arange(count)
    first = np.zeros(count, dtype=np.int64)
    first[1:] = np.where(ends[:-1], at[1:], 0)
    whole = np.where(_mask(events, WHOLE), at, 0)
    after_delete = np.where(_mask(events, DELETE), at + 1, 0)
    found: Places = np.maximum.accumulate(np.maximum(np.maximum(first, whole), after_delete))
    return found


def _overtaken(changes: pa.Table, rules: ChangeRules, sequence: str, old: pa.Table, tombstones: pa.Table) -> Places:
    """Changes that are older than the row, or the delete, that the table knows already."""
    names = [*rules.key, sequence]
    known = pa.concat_tables([old.select(names), tombstones.select(names).cast(old.select(names).schema)])
    if not known.num_rows:
        return np.zeros(changes.num_rows, dtype=bool)
    newest = (
        pa.table({"k": key_array(known, rules.key), "s": known.column(sequence)})
        .group_by("k")
        .aggregate([("s", "max")])
    )
    found = pc.index_in(key_array(changes, rules.key), value_set=newest["k"].combine_chunks())
    older = pc.less(changes.column(sequence), newest["s_max"].take(found))
    return np.asarray(pc.fill_null(older, False).to_numpy(), dtype=bool)
