"""Each row on its way to the stage is told what it changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from lakeray.importer.merge.rules import DELETE, MARKS, WHOLE, ChangeRules
from lakeray.transform.program import QUARANTINED, Program, ProgramSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    """``table`` without the columns that are left out, its rows' ``flags``, record numbers, and those that no flag
    could be computed for (schema ``QUARANTINED``).
    """

    table: pa.Table
    flags: pa.Table
    rows: pa.Int64Array
    quarantined: pa.Table


@dataclass(slots=True)
class Marker:
    """Marks the rows of one task."""

    rules: ChangeRules
    now: datetime
    seed: int
    _flags: Program | None = field(init=False)

    def __post_init__(self) -> None:
        asked = {DELETE: self.rules.delete, WHOLE: self.rules.whole}
        select = {name: sql for name, sql in asked.items() if sql is not None}
        spec = ProgramSpec(select=select)
        self._flags = Program(spec, now=self.now, seed=self.seed, keys={}) if select else None

    def flag(self, table: pa.Table, rows: pa.Int64Array) -> Marked:
        """Find out what each row of the step's output does, then leave out what the table does not get."""
        quarantined = QUARANTINED.empty_table()
        if self._flags is not None:
            done = self._flags.run(table, rows)
            table, rows, quarantined = done.table, done.rows, done.quarantined
        count = table.num_rows
        known = {DELETE: pa.repeat(pa.scalar(False), count), WHOLE: self._whole(count)}
        flags = {name: table[name] if name in table.column_names else other for name, other in known.items()}
        gone = [name for name in table.column_names if name in known or name in self.rules.left_out]
        return Marked(
            table=table.drop_columns(gone),
            flags=pa.table(flags),
            rows=rows,
            quarantined=quarantined,
        )

    def _whole(self, count: int) -> pa.BooleanArray:
        """What is said by no SQL: without partial updates every change is whole."""
        return pa.repeat(pa.scalar(not self.rules.partial), count)

    @staticmethod
    def attach(table: pa.Table, flags: pa.Table) -> pa.Table:
        """``table``, fit to be written, with its flags; where its rows stand among other changes see ``Origins``."""
        for name in (DELETE, WHOLE):
            table = table.append_column(MARKS.field(name), flags[name])
        return table
