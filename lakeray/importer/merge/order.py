"""Staged changes brought into order: by key, and for each key from the earliest to the latest.

Changes are cut into shares by ranges of the key, each small enough for one task's memory, so that however many there
are, no task holds more than one share.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.merge.keys import Zones, group_ends, key_array
from lakeray.importer.merge.rules import MARKS, OBJECT, ChangeRules
from lakeray.importer.merge.scratch import ScratchWriter, read_scratch

SHARE_OF_MEMORY, SHARE_WITH_ROWS = 8, 24
"""Changes of one share, as they lie in memory, are at most this fraction of a task's memory: they are sorted and
copied, and for a partial update or a history brought together with the rows that they meet."""
_SAMPLE = 4_096
_SURVEYED_FILES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """The changes of a range of keys, in order, as a scratch file; ``zones`` say where its keys lie, column by column.

    ``beaten`` counts, by object, changes that a later one of the same batch replaced; they are not in the file.
    """

    path: str | None
    rows: int
    zones: Mapping[str, Zones]
    beaten: Mapping[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """``keys``: some of the changes' keys; ``row_bytes``: what a change takes in memory."""

    keys: pa.Array
    row_bytes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SurveyTask:
    """Looks at the first row group of some staged files."""

    root: str
    paths: tuple[str, ...]
    key: tuple[str, ...]
    seed: int

    def run(self) -> Iterator[Survey]:
        """One message."""
        chance = random.Random(self.seed)  # noqa: S311 - no secret; the manifest's seed
        rows = size = 0
        found: list[pa.Array] = []
        for path in self.paths:
            some = next(read_scratch(self.root, [path], rows=_SAMPLE), None)
            if some is None:
                continue
            rows, size = rows + some.num_rows, size + some.nbytes
            keys = key_array(next(read_scratch(self.root, [path], columns=self.key)), self.key)
            places = sorted(chance.sample(range(len(keys)), min(_SAMPLE, len(keys))))
            found.append(keys.take(pa.array(places, pa.int64())))
        yield Survey(keys=pa.concat_arrays(found), row_bytes=size / max(rows, 1))


def surveyed(paths: Sequence[str]) -> tuple[str, ...]:
    """A few files from the whole range."""
    stride = max(1, len(paths) // _SURVEYED_FILES)
    return tuple(paths[::stride][:_SURVEYED_FILES])


def boundaries(survey: Survey, rows: int, share_bytes: float) -> list[Any]:
    """Keys, ascending, that cut ``rows`` changes into shares of at most about ``share_bytes`` each."""
    count = int(np.ceil(rows * survey.row_bytes / share_bytes))
    if count <= 1:
        return []
    ordered = survey.keys.take(pc.array_sort_indices(survey.keys))
    places = sorted({len(ordered) * number // count for number in range(1, count)})
    return list(dict.fromkeys(ordered.take(pa.array(places, pa.int64())).to_pylist()))


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderTask:
    """Brings the changes of one share, keys from ``low`` (inclusive) to ``high`` (exclusive), into order."""

    root: str
    paths: tuple[str, ...]
    out: str
    rules: ChangeRules
    schema: pa.Schema
    low: Any = None
    high: Any = None

    def run(self) -> Iterator[Share]:
        """One message."""
        parts = [part for table in read_scratch(self.root, self.paths) if (part := self._within(table)).num_rows]
        if not parts:
            yield Share(path=None, rows=0, zones={}, beaten={})
            return
        changes = pa.concat_tables(parts)
        del parts
        changes, beaten = in_order(changes, self.rules)
        writer = ScratchWriter(self.root, self.out)
        try:
            writer.write(changes)
            path = writer.close()
        except BaseException:
            writer.discard()
            raise
        sort = len(self.rules.key) > 1  # one key column alone is in order already
        zones = {name: Zones.of(changes.column(name), sort=sort) for name in self.rules.key}
        yield Share(path=path, rows=changes.num_rows, zones=zones, beaten=beaten)

    def _within(self, table: pa.Table) -> pa.Table:
        table = completed(table, self.schema)
        if self.low is None and self.high is None:
            return table
        keys = key_array(table, self.rules.key)
        keep = None
        for bound, compare in ((self.low, pc.greater_equal), (self.high, pc.less)):
            if bound is not None:
                holds = compare(keys, pa.scalar(bound, keys.type))
                keep = holds if keep is None else pc.and_(keep, holds)
        return table.filter(keep)


def completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Changes in the table's columns: another task, or another writer, may have added one."""
    wanted = pa.schema([*schema, *MARKS])
    if table.schema.equals(wanted):
        return table
    columns = [
        table.column(item.name).cast(item.type)
        if table.schema.get_field_index(item.name) >= 0
        else pa.nulls(table.num_rows, item.type)
        for item in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def in_order(changes: pa.Table, rules: ChangeRules) -> tuple[pa.Table, dict[int, int]]:
    """``changes`` by key and order; where only the latest of a key counts, without the others, counted by object."""
    keys = key_array(changes, rules.key)
    indices = pc.array_sort_indices(keys)
    last = group_ends(keys.take(indices))
    if last.all():  # one change a key, as usual: sorting by the rest would change nothing
        return changes.take(indices), {}
    ordering = {"k": keys, **{str(n): changes.column(name) for n, name in enumerate(rules.order)}}
    names = list(ordering)
    indices = pc.sort_indices(pa.table(ordering), sort_keys=[(name, "ascending") for name in names])
    if rules.partial or rules.history is not None:
        return changes.take(indices), {}
    beaten = changes.column(OBJECT).take(indices.filter(pa.array(~last)))
    return changes.take(indices.filter(pa.array(last))), dict(Counter(beaten.to_pylist()))
