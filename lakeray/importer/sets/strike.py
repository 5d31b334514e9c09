"""Staged files written anew without some of their rows, every row that went counted for its object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from lakeray.delta.parquet import WriteOptions
from lakeray.delta.staged import StagedFile
from lakeray.delta.writer import StagedWriter
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.quarantine import table as quarantine
from lakeray.importer.sets.staged_rows import BESIDE, OBJECT, ROW, Marked, StagedRows
from lakeray.transform.program import QUARANTINED, RESCUED
from lakeray.transform.record import records


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Rows that go are quarantined: where, under which rule, for which reason, and which objects they may be of."""

    uri: str
    rule: str
    reason: str
    origin: quarantine.Origin
    objects: tuple[PlannedObject, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Struck:
    """What one task made: ``files`` in place of those that lost rows, refused rows, and by the object's index in the
    manifest how many rows went, and how many of them carried rescued data.
    """

    files: list[StagedFile]
    quarantine_files: list[StagedFile]
    rows: Mapping[int, int]
    rescued: Mapping[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class StrikeTask:
    """Writes the files that ``marks`` names anew without the marked rows. ``prefix`` begins their names."""

    staged: StagedRows
    marks: Marked = field(repr=False)
    partition_by: tuple[str, ...]
    options: WriteOptions
    prefix: str
    refusal: Refusal | None = None

    def run(self) -> Iterator[Struck]:
        """One message."""
        schema = pa.schema([*self.staged.schema, *BESIDE])
        writer = StagedWriter(
            self.staged.root,
            schema=schema,
            partition_by=list(self.partition_by),
            prefix=self.prefix,
            options=self.options,
            beside=BESIDE.names,
        )
        refused = self._refused_writer()
        gone, rescued = Counter[int](), Counter[int]()
        try:
            for place, bits in self.marks.items():
                file, position = self.staged.files[place], 0
                flags = np.unpackbits(bits, count=file.rows).astype(bool)
                for group in self.staged.groups(file, self.staged.schema.names):
                    lost = flags[position : position + group.num_rows]
                    position += group.num_rows
                    writer.write(group.filter(pa.array(~lost)))
                    self._count(group.filter(pa.array(lost)), gone, rescued, refused)
            yield Struck(
                files=writer.close(),
                quarantine_files=refused.close() if refused else [],
                rows=dict(gone),
                rescued=dict(rescued),
            )
        except BaseException:
            for each in filter(None, (writer, refused)):
                each.discard()
            raise

    def _count(self, lost: pa.Table, gone: Counter[int], rescued: Counter[int], refused: StagedWriter | None) -> None:
        if not lost.num_rows:
            return
        gone.update(lost[OBJECT].to_pylist())
        if RESCUED in lost.column_names:
            rescued.update(lost.filter(lost[RESCUED].is_valid())[OBJECT].to_pylist())
        if refused is None or self.refusal is None:
            return
        for index in lost[OBJECT].unique().to_pylist():
            rows = lost.filter(pa.compute.equal(lost[OBJECT], index))
            told = self.refusal.origin.violations(self.refusal.objects[index], self._explained(rows))
            refused.write(told)

    def _explained(self, rows: pa.Table) -> pa.Table:
        assert self.refusal is not None
        count = rows.num_rows
        columns = [
            rows[ROW],
            pa.repeat(pa.scalar(self.refusal.rule), count),
            pa.repeat(pa.scalar(self.refusal.reason), count),
            records(rows, without=BESIDE.names),
        ]
        return pa.table(columns, schema=QUARANTINED)

    def _refused_writer(self) -> StagedWriter | None:
        if self.refusal is None:
            return None
        return StagedWriter(
            self.refusal.uri,
            schema=quarantine.SCHEMA,
            partition_by=[],
            prefix=f"{self.prefix}-q",
            options=WriteOptions(row_group_bytes=self.options.row_group_bytes),
        )
