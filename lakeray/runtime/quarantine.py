"""What may be done with refused rows: look, try them again, throw them away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypedDict, TypeVar, Unpack

import pyarrow as pa

from lakeray.delta.query import query
from lakeray.delta.table import TableHandle, open_table
from lakeray.delta.upkeep import delete_rows
from lakeray.errors import SpecError
from lakeray.importer.quarantine.reprocess import Choice
from lakeray.importer.quarantine.table import SCHEMA, of_step_with_parts

Started = TypeVar("Started")
_ORDER = (("quarantined_at", "descending"), ("object_uri", "ascending"), ("row", "ascending"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """An import step whose refused rows are meant: ``pipeline`` is its uuid, ``quarantine_uri`` where they lie."""

    step: str
    pipeline: str
    quarantine_uri: str


class Chosen(TypedDict, total=False):
    """How rows are chosen: all that meet everything that is said (see ``importer.reprocess.Choice``)."""

    rule: str | None
    batch: int | None
    object_glob: str | None
    since: datetime | None
    before: datetime | None


class QuarantineOf(Generic[Started]):
    """The refused rows of some import steps; ``start`` begins a run that reprocesses those of one step."""

    def __init__(self, imports: Sequence[Import], start: Callable[[str, Choice], Started]) -> None:
        self._imports = list(imports)
        self._start = start

    def show(self, *, limit: int = 100, **chosen: Unpack[Chosen]) -> pa.Table:
        """At most ``limit`` of the chosen rows, the newest first (``quarantine.table.SCHEMA``)."""
        parts = [SCHEMA.empty_table()]
        for handle, where in self._where(Choice(**chosen)):
            order = "ORDER BY quarantined_at DESC, object_uri, row"
            parts.append(query(handle, f"SELECT * FROM this WHERE {where} {order} LIMIT {int(limit)}"))  # noqa: S608
        rows = pa.concat_tables(parts, promote_options="default")
        return rows.select(SCHEMA.names).sort_by(list(_ORDER)).slice(0, limit)

    def count(self, **chosen: Unpack[Chosen]) -> pa.Table:
        """How many of the chosen rows each step, batch and rule has: columns step, batch, rule, rows."""
        parts = [pa.schema([("step", pa.string()), ("batch", pa.int64()), ("rule", pa.string()), ("rows", pa.int64())])]
        tables = [part.empty_table() for part in parts]
        for handle, where in self._where(Choice(**chosen)):
            sql = f"SELECT step, batch, rule, count(*) AS rows FROM this WHERE {where} GROUP BY step, batch, rule"  # noqa: S608
            tables.append(query(handle, sql))
        return pa.concat_tables(tables).sort_by([("step", "ascending"), ("batch", "ascending"), ("rule", "ascending")])

    def reprocess(self, **chosen: Unpack[Chosen]) -> Started:
        """Start a run that sends the chosen rows through their step once more; what passes moves into the table exactly
        once.

        Raises SpecError when several steps are meant.
        """
        if len(self._imports) != 1:
            names = ", ".join(item.step for item in self._imports)
            raise SpecError(
                f"the workflow has {len(self._imports)} import steps", hint=f"name one with --step: {names}"
            )
        return self._start(self._imports[0].step, Choice(**chosen))

    def purge(self, *, dry_run: bool = True, **chosen: Unpack[Chosen]) -> int:
        """Delete the chosen rows for good; how many there are. With ``dry_run`` they are only counted.

        Raises SpecError when nothing was chosen.
        """
        if Choice(**chosen).is_everything:
            raise SpecError("nothing was chosen, so that all rows would go", hint="say a rule, batch, object or age")
        total = 0
        for handle, where in self._where(Choice(**chosen)):
            if dry_run:
                total += query(handle, f"SELECT count(*) AS n FROM this WHERE {where}")["n"][0].as_py()  # noqa: S608
            else:
                total += delete_rows(handle.uri, where)
        return total

    def _where(self, choice: Choice) -> list[tuple[TableHandle, str]]:
        """Each quarantine that is there, with the SQL for the chosen rows."""
        found = []
        for item in self._imports:
            handle = open_table(item.quarantine_uri)
            if handle is not None:
                found.append((handle, f"{of_step_with_parts(item.pipeline, item.step)} AND ({choice.sql(handle)})"))
        return found
