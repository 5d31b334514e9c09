"""One part of a data file is met by the changes: which of its rows they replace, which changes came too late.

Only key and sequence are read to find out. Where a change replaces a row, the part is written anew without that row,
every other row as it was; where none does, nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.files import DataFile
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.scan import Scan
from lakeray.delta.staged import StagedFile
from lakeray.delta.writer import StagedWriter
from lakeray.importer.merge.keys import group_ends, key_array
from lakeray.importer.merge.lookup import Lookup, Places
from lakeray.importer.merge.rules import ChangeRules
from lakeray.importer.merge.scratch import ScratchWriter, read_scratch

KEY_ROWS, WHOLE_ROWS = 1_000_000, 131_072
"""Rows that are looked at at once: of the key alone, of all columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Part ``number`` (from 0) of ``of`` parts of a data file."""

    file: DataFile
    number: int = 0
    of: int = 1


@dataclass(kw_only=True, slots=True)
class Matched:
    """What a task found in its parts.

    ``hits`` are the parts that were written anew, together, as ``files``: ``replaced`` of their rows are in none of
    them, ``kept`` are. ``taken`` names, by share, the scratch file of the replaced rows, where they are needed.
    ``late`` holds, by share, which of its keys (numbered in order) were overtaken by what the table has.
    """

    hits: list[Part] = field(default_factory=list)
    replaced: int = 0
    kept: int = 0
    files: list[StagedFile] = field(default_factory=list)
    taken: dict[int, str] = field(default_factory=dict)
    late: dict[int, Places] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where rows are read from and written to: a table's folder with its columns, and the batch's scratch folder.

    ``prefix`` begins the names of new files and is unique for each task.
    """

    uri: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    options: WriteOptions
    scratch: str
    prefix: str

    def writer(self, name: str, *, schema: pa.Schema | None = None) -> StagedWriter:
        """A writer of data files."""
        return StagedWriter(
            self.uri,
            schema=schema or self.schema,
            partition_by=list(self.partition_by),
            prefix=f"{self.prefix}-{name}",
            options=self.options,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchTask:
    """Looks at some parts with the changes of the ``shares`` (scratch files by number) that they may hold keys of.

    ``take``: replaced rows go to scratch files. ``look_only``: no data file is written. ``everything``: the parts are
    written anew although no change meets them, because another part of their file is.
    """

    parts: tuple[Part, ...]
    place: Place
    rules: ChangeRules
    shares: dict[int, str]
    take: bool
    look_only: bool = False
    everything: bool = False

    def run(self) -> Iterator[Matched]:
        """One message."""
        out = _Out(self)
        indexes = _Indexes(self)
        try:
            for part in self.parts:
                with Scan(
                    self.place.uri, part.file.path, schema=self.place.schema, partition=part.file.partition
                ) as scan:
                    groups = scan.part(part.number, part.of)
                    seen = _Seen(self.rules)
                    for number in self.shares:
                        seen.meet(number, indexes.get(number), scan, groups)
                    out.note_late(seen)
                    if seen.replaced or self.everything:
                        out.write(part, scan, groups, seen)
            found = out.close()
        except BaseException:
            out.discard()
            raise
        yield found


class _Indexes:
    """The shares' indexes; a single one is loaded once for all parts, of several one is held at a time."""

    def __init__(self, task: MatchTask) -> None:
        self._task = task
        self._held: tuple[int, Index] | None = None

    def get(self, number: int) -> Index:
        """The index of one share."""
        if self._held is None or self._held[0] != number:
            self._held = None  # before the next one is there
            place = self._task.place
            self._held = (number, Index.load(place.scratch, self._task.shares[number], self._task.rules))
        return self._held[1]


class _Out:
    """What a task writes."""

    def __init__(self, task: MatchTask) -> None:
        place = task.place
        self._found = Matched()
        self._writer = None if task.look_only else place.writer("k")
        self._late: dict[int, list[Places]] = {}
        self._taken = {
            number: ScratchWriter(place.scratch, f"{place.prefix}-x{number}.parquet")
            for number in (task.shares if task.take else ())
        }

    def note_late(self, seen: _Seen) -> None:
        """Keys whose changes came too late for one part."""
        for number, places in seen.late.items():
            self._late.setdefault(number, []).append(places)

    def write(self, part: Part, scan: Scan, groups: range, seen: _Seen) -> None:
        """The part's rows, each to where it belongs now."""
        found = self._found
        found.hits.append(part)
        found.replaced += seen.replaced
        if self._writer is None and not self._taken:
            return
        for group in groups:
            start = 0
            for table in scan.tables([group], rows=WHOLE_ROWS):
                owner = seen.owner(group, start, table.num_rows)
                start += table.num_rows
                stays = table if owner is None else table.filter(pa.array(owner < 0))
                found.kept += stays.num_rows
                if self._writer is not None:
                    self._writer.write(stays)
                for number, out in self._taken.items() if owner is not None else ():
                    out.write(table.filter(pa.array(owner == number)))

    def close(self) -> Matched:
        """End all files."""
        found = self._found
        found.files = self._writer.close() if self._writer is not None else []
        found.taken = {number: path for number, out in self._taken.items() if (path := out.close())}
        found.late = {number: np.unique(np.concatenate(places)) for number, places in self._late.items()}
        return found

    def discard(self) -> None:
        """Remove them."""
        for out in self._taken.values():
            out.discard()
        if self._writer is not None:
            self._writer.discard()


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """The keys of a share, each once and in order, with the sequence of the latest change of each; ``columns`` are what
    rows are compared by.
    """

    lookup: Lookup
    latest: pa.ChunkedArray | None
    columns: list[str]

    @classmethod
    def load(cls, root: str, path: str, rules: ChangeRules) -> Index:
        """Read it from the share's scratch file."""
        sequence = rules.sequence if rules.history is None else None
        names = list(dict.fromkeys([*rules.key, *([sequence] if sequence else [])]))
        changes = pa.concat_tables(read_scratch(root, [path], columns=names))
        keys = key_array(changes, rules.key)
        last = group_ends(keys)
        chosen = changes if last.all() else changes.filter(pa.array(last))
        keys = keys if last.all() else keys.filter(pa.array(last))
        return cls(lookup=Lookup(keys), latest=chosen.column(sequence) if sequence else None, columns=names)


class _Seen:
    """What was found in one part so far: which share replaces each row, which keys of a share are too late."""

    def __init__(self, rules: ChangeRules) -> None:
        self._rules = rules
        self._owners: dict[int, Places] = {}
        self.replaced = 0
        self.late: dict[int, Places] = {}

    def owner(self, group: int, start: int, rows: int) -> Places | None:
        """The share that replaces each of these rows, -1 for none; None when that is so for the whole row group."""
        found = self._owners.get(group)
        return None if found is None else found[start : start + rows]

    def meet(self, number: int, index: Index, scan: Scan, groups: Sequence[int]) -> None:
        """Look up every row of these row groups among the changes of one share."""
        names = index.columns
        late: list[Places] = []
        for group in groups:
            found = [self._look(index, table, late) for table in scan.tables([group], columns=names, rows=KEY_ROWS)]
            mask = np.concatenate(found) if found else np.zeros(0, dtype=bool)
            hits = int(np.count_nonzero(mask))
            if hits:
                self.replaced += hits
                owner = self._owners.setdefault(group, np.full(len(mask), -1, dtype=np.int16))
                owner[mask] = number
        if late:
            self.late[number] = np.unique(np.concatenate(late))

    def _look(self, index: Index, table: pa.Table, late: list[Places]) -> Places:
        """Which rows a change replaces; the keys whose change is older than its row are added to ``late``."""
        mask = np.zeros(table.num_rows, dtype=bool)
        found, place = index.lookup.find(key_array(table, self._rules.key))
        if index.latest is not None and self._rules.sequence is not None and len(found):
            row = table.column(self._rules.sequence).take(pa.array(found))
            older = pc.fill_null(pc.greater(row, index.latest.take(pa.array(place))), False)
            overtaken = np.asarray(older.to_numpy(), dtype=bool)
            if overtaken.any():
                late.append(place[overtaken])
                found = found[~overtaken]
        mask[found] = True
        return mask
