"""The changes of one share become rows, in order, on top of what they meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from lakeray.delta.staged import StagedFile
from lakeray.importer.merge.feed import FOLDER, differences, feed_schema
from lakeray.importer.merge.history import rebuilt
from lakeray.importer.merge.keys import group_ends, key_array
from lakeray.importer.merge.latest import Folded, last_of_each, summed
from lakeray.importer.merge.lookup import Places
from lakeray.importer.merge.match import Place
from lakeray.importer.merge.order import completed
from lakeray.importer.merge.rules import OBJECT, ChangeRules
from lakeray.importer.merge.scratch import read_scratch
from lakeray.importer.merge.tombstones import tombstone_rows
from lakeray.objects import join


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What became of one share: ``files`` of new rows, change data ``feed`` and ``tombstones``, all staged.

    ``written`` and ``beaten`` count, by object, changes that took effect and those that did not; ``inserted``,
    ``updated`` and ``deleted`` count rows, as far as the rows that were there are known (else all are updates).
    """

    files: list[StagedFile] = field(default_factory=list)
    feed: list[StagedFile] = field(default_factory=list)
    tombstones: list[StagedFile] = field(default_factory=list)
    rows: int = 0
    written: dict[int, int] = field(default_factory=dict)
    beaten: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyTask:
    """One share (a scratch file), with the keys that came too late, the rows that were taken out of the table for it
    (``taken``) and its remembered deletes (``past_deletes``), both scratch files.

    ``tombstones`` says where this batch's own deletes are staged, None when they are not remembered.
    """

    share: str
    late: Places
    taken: tuple[str, ...]
    past_deletes: tuple[str, ...]
    place: Place
    tombstones: Place | None
    rules: ChangeRules
    keeps_feed: bool
    now: datetime

    def run(self) -> Iterator[Applied]:
        """One message."""
        scratch, schema = self.place.scratch, self.place.schema
        changes = pa.concat_tables(completed(table, schema) for table in read_scratch(scratch, [self.share]))
        old = pa.concat_tables([schema.empty_table(), *read_scratch(scratch, self.taken)])
        folded = self._fold(changes, old)
        with ExitStack() as undo:
            files = self._staged(undo, self.place, "n", folded.rows)
            tombstones = feed = []
            if self.tombstones is not None and folded.deletes.num_rows:
                rows = tombstone_rows(folded.deletes, self.tombstones.schema, self.now)
                tombstones = self._staged(undo, self.tombstones, "d", rows)
            if self.keeps_feed:
                feed = self._feed(undo, old, folded.rows)
            undo.pop_all()
        objects = changes.column(OBJECT).to_numpy()
        yield Applied(
            files=files,
            feed=feed,
            tombstones=tombstones,
            rows=folded.rows.num_rows,
            written=_counts(objects[folded.effective]),
            beaten=_counts(objects[~folded.effective]),
        )

    def _fold(self, changes: pa.Table, old: pa.Table) -> Folded:
        rules, schema = self.rules, self.place.schema
        late = self._late(changes)
        if not rules.partial and rules.history is None:
            return last_of_each(changes, late, schema)
        past = pa.schema([]).empty_table()
        if rules.sequence is not None:
            names = list(dict.fromkeys([*rules.key, rules.sequence]))
            empty = pa.schema([schema.field(name) for name in names]).empty_table()
            found = read_scratch(self.place.scratch, self.past_deletes, columns=names)
            past = pa.concat_tables([empty, *(table.select(names).cast(empty.schema) for table in found)])
        if rules.history is not None:
            return rebuilt(changes, rules, schema, old=old, tombstones=past)
        return summed(changes, rules, late, schema, old=old, tombstones=past)

    def _late(self, changes: pa.Table) -> Places:
        """The changes whose key came too late."""
        if not len(self.late):
            return np.zeros(changes.num_rows, dtype=bool)
        ends = group_ends(key_array(changes, self.rules.key))
        number = np.cumsum(ends) - ends
        return np.isin(number, self.late)

    def _staged(self, undo: ExitStack, place: Place, name: str, rows: pa.Table) -> list[StagedFile]:
        writer = place.writer(name)
        undo.callback(writer.discard)
        writer.write(rows)
        return writer.close()

    def _feed(self, undo: ExitStack, old: pa.Table, new: pa.Table) -> list[StagedFile]:
        identity = list(self.rules.key)
        if self.rules.history is not None:
            identity.append(self.rules.history.valid_from)
        folder = replace(self.place, uri=join(self.place.uri, FOLDER), schema=feed_schema(self.place.schema))
        files = self._staged(undo, folder, "c", differences(old, new, identity))
        return [replace(file, path=f"{FOLDER}/{file.path}") for file in files]


def _counts(objects: Places) -> dict[int, int]:
    values, counts = np.unique(objects, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
