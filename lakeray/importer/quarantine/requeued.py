"""Rows that come out of quarantine once more, as a reader would give them.

What was refused is taken from the quarantine where that holds it as it was: ``raw`` is read again by the source's
reader, ``record`` is JSON whose types the coercer restores. Rows that the quarantine holds otherwise (masked or perhaps
masked, cut, as they would have been written, or as a hook made them) are read again from the object version that they
came from, by their number in it. A row that neither gives stays in quarantine as it is.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.query import stream_at
from lakeray.errors import ObjectError, ReadError, StoreUnavailable
from lakeray.importer.discovery.source import read_options
from lakeray.importer.manifest import Manifest, PlannedObject
from lakeray.importer.quarantine.table import SCHEMA, of_object
from lakeray.importer.readers import Chunk, ReadOptions, read
from lakeray.importer.readers.port import Refused
from lakeray.importer.schema.source import wire_schema
from lakeray.objects import open_store
from lakeray.spec.sources import Source
from lakeray.spec.steps import Step
from lakeray.transform.program import RESCUED

CHUNK_ROWS = 50_000
RAW_LIMIT = 64 * 2**10
"""A ``raw`` of that many bytes was cut (see ``readers.port.Refused``)."""
_AS_WRITTEN = ("table:", "expect_set:")


@dataclass(frozen=True, kw_only=True, slots=True)
class Requeued:
    """The rows of one version of a quarantine for which the SQL ``where`` holds."""

    uri: str
    version: int
    where: str

    @classmethod
    def of(cls, manifest: Manifest) -> Requeued | None:
        """Those that a manifest names; None for one of whole objects."""
        found = manifest.extra.get("reprocess")
        return None if found is None else cls(uri=found["uri"], version=found["version"], where=found["where"])

    def rows(self, planned: PlannedObject) -> Iterator[pa.Table]:
        """Those of one object version, in the order of their numbers, with the columns of the quarantine."""
        sql = f"SELECT * FROM this WHERE {self.where} AND {of_object(planned)} ORDER BY row, line, rule"  # noqa: S608
        for piece in stream_at(self.uri, self.version, sql, rows=CHUNK_ROWS):
            columns = [
                piece[item.name].cast(item.type) if item.name in piece.column_names else pa.nulls(len(piece), item.type)
                for item in SCHEMA
            ]
            yield pa.table(columns, schema=SCHEMA)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stays:
    """Rows of the quarantine (its columns) that cannot be restored; ``reason`` says why."""

    rows: pa.Table
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Restorer:
    """Restores rows of one source as chunks for a pipeline of ``step``, or says which stay."""

    source: Source
    step: Step
    schema: pa.Schema
    options: ReadOptions

    def chunks(self, planned: PlannedObject, rows: pa.Table) -> Iterator[Chunk | Stays]:
        """All of ``rows``, each once; those of one object version."""
        ways = pa.array([self._way(row) for row in rows.select(_LOOKED_AT).to_pylist()], pa.string())
        chosen = {way: rows.filter(pc.equal(ways, way)) for way in ("record", "raw", "object")}
        if chosen["record"].num_rows:
            yield from self._from_records(chosen["record"])
        if chosen["raw"].num_rows:
            yield from self._from_raw(chosen["raw"], planned.info.uri)
        if chosen["object"].num_rows:
            yield from self._from_object(planned, chosen["object"])

    def _way(self, row: dict[str, object]) -> str:
        """Where a row is taken from. Bytes that are there were never masked; a record only where it says so."""
        raw, as_written = row["raw"], str(row["rule"]).startswith(_AS_WRITTEN)
        if isinstance(raw, bytes) and len(raw) < RAW_LIMIT and self._raw_options() is not None:
            return "raw"
        genuine = row["record"] is not None and row["masked"] is False
        return "record" if genuine and not as_written and not self.step.apply else "object"

    def _raw_options(self) -> ReadOptions | None:
        """How to read one record by itself, in UTF-8 whatever the object is in; None where it does not stand by
        itself.
        """
        if self.source.format == "json":
            return replace(self.options, compression="none", encoding="utf-8")
        if self.source.format in ("csv", "tsv") and self.source.csv.columns is not None:
            options = {**self.options.options, "header": False}
            return replace(self.options, compression="none", encoding="utf-8", options=options)
        return None

    def _from_records(self, rows: pa.Table) -> Iterator[Chunk | Stays]:
        text = b"\n".join(_record(item) for item in rows["record"].to_pylist())
        wire = wire_schema(self.source.model_copy(update={"format": "json"}), self.schema)
        options = ReadOptions(
            format="json", wire_schema=wire, chunk_bytes=self.options.chunk_bytes, max_record_bytes=len(text) + 1
        )
        numbers = rows["row"].combine_chunks()
        for chunk in read(io.BytesIO(text), options, name="quarantine.json"):
            places = pc.subtract(chunk.rows, 1)
            refused = [replace(item, row=numbers[item.row - 1].as_py()) for item in chunk.refused]
            yield replace(chunk, rows=numbers.take(places), refused=refused)

    def _from_raw(self, rows: pa.Table, uri: str) -> Iterator[Chunk | Stays]:
        options = self._raw_options()
        assert options is not None
        for row in rows.select(["row", "line", "column", "raw"]).to_pylist():
            number, raw = row["row"], row["raw"]
            try:
                chunks = list(read(io.BytesIO(raw), options, name="record"))
                count = sum(chunk.table.num_rows + len(chunk.refused) for chunk in chunks)
                reason = f"the text holds {count} records" if count != 1 else None
            except ReadError as error:
                chunks, reason = [], error.message.replace("record", uri, 1)
            if reason is not None:
                again = Refused(row=number, line=row["line"], column=row["column"], reason=reason, raw=raw)
                yield _refused([again])
                continue
            for chunk in chunks:
                refused = [replace(item, row=number, line=row["line"]) for item in chunk.refused]
                count = chunk.table.num_rows
                if count or refused:
                    yield replace(chunk, rows=pa.array([number] * count, pa.int64()), refused=refused)

    def _from_object(self, planned: PlannedObject, rows: pa.Table) -> Iterator[Chunk | Stays]:
        info = planned.info
        unnumbered = rows["row"].is_null()
        if pc.any(unnumbered).as_py():
            yield Stays(rows=rows.filter(unnumbered), reason="a hook made the row, so that it has no number there")
            rows = rows.filter(pc.invert(unnumbered))
        wanted = set(rows["row"].to_pylist())
        last = max(wanted, default=0)
        try:
            with open_store(info.uri).open(info.uri, match=info) as file:
                for chunk in read(file, self.options, name=info.uri):
                    some = _chosen(chunk, wanted)
                    wanted -= {*some.rows.to_pylist(), *(item.row for item in some.refused)}
                    if some.table.num_rows or some.refused:
                        yield some
                    if not wanted or min(_numbers(chunk), default=0) > last:
                        break
        except StoreUnavailable:
            raise
        except (ObjectError, ReadError) as error:
            reason = error.message
        else:
            reason = "the object has no record of that number as it is read today"
        if wanted:
            left = pc.is_in(rows["row"], value_set=pa.array(sorted(wanted), pa.int64()))
            yield Stays(rows=rows.filter(left), reason=reason)


_LOOKED_AT = ["rule", "record", "raw", "masked"]


def restorer(source: Source, step: Step, schema: pa.Schema, *, chunk_bytes: int) -> Restorer:
    """For rows of ``source``, whose columns are of ``schema``."""
    options = read_options(source, wire_schema=wire_schema(source, schema), chunk_bytes=chunk_bytes)
    return Restorer(source=source, step=step, schema=schema, options=options)


def _record(text: str) -> bytes:
    """A quarantined record with what had been rescued from it put back: the coercer decides about it anew."""
    record = orjson.loads(text)
    rescued = record.pop(RESCUED, None)
    found = orjson.loads(rescued) if isinstance(rescued, str) else None
    if isinstance(found, dict):
        record.update({name: value for name, value in found.items() if record.get(name) is None})
    return orjson.dumps(record)


def _chosen(chunk: Chunk, wanted: set[int]) -> Chunk:
    keep = pc.is_in(chunk.rows, value_set=pa.array(sorted(wanted), pa.int64()))
    return Chunk(
        table=chunk.table.filter(keep),
        rows=chunk.rows.filter(keep),
        refused=[item for item in chunk.refused if item.row in wanted],
        extras=None if chunk.extras is None else chunk.extras.filter(keep),
    )


def _numbers(chunk: Chunk) -> list[int]:
    first = [chunk.rows[0].as_py()] if len(chunk.rows) else []
    return [*first, *(item.row for item in chunk.refused[:1])]


def _refused(items: list[Refused]) -> Chunk:
    return Chunk(table=pa.table({}), rows=pa.array([], pa.int64()), refused=items)
