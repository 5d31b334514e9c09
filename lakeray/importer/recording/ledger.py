"""What happened to every object version, as a Delta table that any reader can query.

The ledger is at ``<import folder>/ledger``. Rows are only ever appended: a batch's rows in one commit that carries
the batch's number as its transaction id, so a batch is recorded once. Of several rows for one object version the one
with the highest ``(batch, recorded_at)`` counts. It is rebuilt from manifests, results and the table's history when
it is lost: an import finds the batches that the table has and the ledger has not, and records them from the results
that their commits name.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.commit import record_rows
from lakeray.delta.query import file_count, query
from lakeray.delta.table import TableHandle, add_columns, create_table, open_table
from lakeray.errors import ExactlyOnceError, RecordLost, TableError
from lakeray.importer.identity import ImportId
from lakeray.importer.result import ObjectOutcome, Result
from lakeray.importer.upkeep.optimize import optimize

SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("version_id", pa.string()),
        ("modified_at", pa.timestamp("us", tz="UTC")),
        ("batch", pa.int64()),
        ("outcome", pa.string()),
        ("tries", pa.int32()),
        ("rows_read", pa.int64()),
        ("rows_generated", pa.int64()),
        ("rows_written", pa.int64()),
        ("rows_quarantined", pa.int64()),
        ("rows_dropped", pa.int64()),
        ("rows_filtered", pa.int64()),
        ("rows_deduplicated", pa.int64()),
        ("rows_rescued", pa.int64()),
        ("bytes", pa.int64()),
        ("error_code", pa.string()),
        ("error", pa.string()),
        ("error_line", pa.int64()),
        ("error_column", pa.int64()),
        ("replays", pa.int64()),
        ("table_version", pa.int64()),
        ("run_id", pa.string()),
        ("recorded_at", pa.timestamp("us", tz="UTC")),
        ("takes", pa.int64()),
        ("rows_removed", pa.int64()),
        ("provenance", pa.bool_()),
        ("rows_unnested", pa.int64()),
    ]
)
"""``outcome`` is one of loaded, partly_loaded (some records are in quarantine), failed (tried again), poison (not any
more), superseded (changed while it was read), skipped (a policy or ``abandon`` says so), reset (a person asked to
import it again); or its rows of batch ``takes``, ``rows_removed`` of them, were taken out of the table: replaced,
deleted, withdrawn, compensated (as a later step of the run failed; it is imported again). ``provenance``: its rows in
the table say where they came from; ``rows_unnested`` counts rows of child tables, all together. Ledgers of earlier
versions lack the last four columns."""

IDENTITY = ("uri", "size", "etag", "version_id")
LOADED = ("loaded", "partly_loaded")
GONE = ("replaced", "deleted", "withdrawn", "compensated")
COMPACT_FILES = 100
_OWNER = "lakeray.app_id"
KEEP_LOG = {"delta.logRetentionDuration": "interval 3650 days"}  # its log says which result recorded a batch

_NEWEST_FIRST = "ORDER BY batch DESC, uri, recorded_at DESC"
_VERSIONS = (
    f"SELECT {', '.join(IDENTITY)}, batch, recorded_at FROM this "  # noqa: S608 - names of this module
    "WHERE uri IN (SELECT uri FROM ({chosen}))"
)
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one import.

    ``at_least`` is a batch that it is known to have recorded: a ledger that knows less, because it was deleted just
    now, raises ExactlyOnceError instead of making all objects look new.
    """

    identity: ImportId
    at_least: int = 0

    def open(self) -> TableHandle | None:
        """The table behind it, or None when nothing was recorded yet.

        Raises RecordLost when it is damaged, ExactlyOnceError when it is the ledger of an earlier table under the
        same path.
        """
        try:
            handle = open_table(self.identity.ledger_uri)
        except TableError as error:
            raise RecordLost(
                f"the ledger cannot be read: {error.message}",
                uri=self.identity.ledger_uri,
                hint="run `lakeray ledger rebuild`: it is made again from manifests, results and the table's history",
            ) from error
        owner = handle.properties.get(_OWNER) if handle else None
        if handle is not None and owner != self.identity.app_id:
            raise ExactlyOnceError(
                f"the ledger belongs to another table ({owner}): the table under this path was recreated",
                uri=self.identity.table_uri,
                hint=f"move {self.identity.folder} away to import everything again into the new table",
            )
        recorded = handle.transaction_version(self.identity.ledger_app_id) if handle else None
        if (recorded or 0) < self.at_least:
            raise ExactlyOnceError(
                f"the ledger had recorded batch {self.at_least}, and now it knows batch {recorded or 0} as the last",
                uri=self.identity.ledger_uri,
                hint="somebody deleted or rebuilt it: run again, which completes it first",
            )
        return handle

    def recorded(self) -> int:
        """Number of the last recorded batch, 0 when there is none."""
        handle = self.open()
        version = handle.transaction_version(self.identity.ledger_app_id) if handle else None
        return version or 0

    def record(self, result: Result, *, table_version: int) -> None:
        """Append the batch's rows, once however often it is called."""
        handle = self.open()
        if handle is None:
            create_table(
                self.identity.ledger_uri,
                SCHEMA,
                partition_by=[],
                properties={_OWNER: self.identity.app_id, **KEEP_LOG},
            )
        else:
            _widen(handle)
        rows = outcome_rows(result, table_version=table_version)
        record_rows(
            self.identity.ledger_uri,
            rows,
            app_id=self.identity.ledger_app_id,
            number=result.batch,
            previous=result.batch - 1,
            metadata={"lakeray.result": result.name},
            dense=True,
            prefix="ledger",
        )

    def reset(self, rows: pa.Table, *, now: datetime) -> int:
        """Append a ``reset`` row for each of the given ledger rows, so that the next import reads these objects
        again.
        """
        handle = self.open()
        if handle is None or not rows.num_rows:
            return 0
        count = int(rows.num_rows)
        again = rows.select(["uri", "size", "etag", "version_id", "modified_at", "batch"])
        columns = {name: again[name] for name in again.column_names}
        columns["outcome"] = pa.array(["reset"] * count)
        columns["tries"] = pa.array([0] * count, pa.int32())
        # Behind the row that it takes back, whichever machine's clock is ahead.
        behind = pc.add(rows["recorded_at"], pa.scalar(timedelta(microseconds=1)))
        clock = pa.scalar(now, SCHEMA.field("recorded_at").type)
        columns["recorded_at"] = pc.if_else(pc.greater(behind, clock), behind, clock)
        full = pa.table([columns.get(field.name, pa.nulls(count, field.type)) for field in SCHEMA], schema=SCHEMA)
        _widen(handle)
        app_id = f"{self.identity.ledger_app_id}/reset-{uuid.uuid4().hex}"
        record_rows(self.identity.ledger_uri, full, app_id=app_id, number=1, prefix="reset")
        return count

    def scan(self, *, after: str | None, up_to: str | None, columns: tuple[str, ...]) -> pa.Table:
        """Rows of the uris in ``(after, up_to]``, unordered; None means no bound."""
        handle = self.open()
        if handle is None:
            return SCHEMA.empty_table().select(list(columns))
        where = [f"uri > {quoted(after)}"] if after is not None else []
        where += [f"uri <= {quoted(up_to)}"] if up_to is not None else []
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        return query(handle, f"SELECT {_selected(handle, columns)} FROM this{condition}")  # noqa: S608 - quoted

    def rows(self, condition: str = "true") -> pa.Table:
        """Rows for which the SQL ``condition`` holds, newest batch first."""
        handle = self.open()
        if handle is None:
            return SCHEMA.empty_table()
        return query(handle, f"SELECT * FROM {_whole(handle)} WHERE {condition} {_NEWEST_FIRST}")  # noqa: S608 - quoted

    def current(self, condition: str = "true", *, limit: int | None = None) -> pa.Table:
        """Of each object version the row that counts, where the SQL ``condition`` holds for it, newest batch first.

        At most ``limit``; then memory holds a few times as many rows, however long the ledger is.
        """
        handle = self.open()
        page = None if limit is None else 4 * limit + _PAGE
        while handle is not None:
            chosen = f"SELECT * FROM {_whole(handle)} WHERE {condition} {_NEWEST_FIRST}"  # noqa: S608 - quoted
            chosen += "" if page is None else f" LIMIT {page}"
            rows = query(handle, chosen)
            counting = _counting(rows, query(handle, _VERSIONS.format(chosen=chosen)))
            if page is None or limit is None or counting.num_rows >= limit or rows.num_rows < page:
                return counting.slice(0, limit)
            page *= 4  # most of these were replaced by later ones: look further back
        return SCHEMA.empty_table()

    def compact(self) -> None:
        """Merge its files when there are many: scans stay fast and nothing else changes."""
        handle = self.open()
        if handle is not None and file_count(handle) > COMPACT_FILES:
            optimize(handle.uri)


def batches_of_run(ledger: Ledger, run_id: str) -> list[int]:
    """The batches that a run committed."""
    return sorted(set(ledger.rows(f"run_id = {quoted(run_id)}")["batch"].to_pylist()))


def latest(rows: pa.Table) -> pa.Table:
    """Of several rows for one object version, the one that counts."""
    if rows.num_rows == 0:
        return rows
    if len(pa.compute.unique(identity_keys(rows))) == rows.num_rows:
        return rows  # nearly always, for half of what sorting costs
    ordered = rows.sort_by([("batch", "descending"), ("recorded_at", "descending")])
    keys = identity_keys(ordered)
    first = pa.compute.index_in(keys, value_set=keys)
    return ordered.filter(pa.compute.equal(first, pa.array(range(len(keys)), pa.int32())))


def _counting(rows: pa.Table, versions: pa.Table) -> pa.Table:
    """Those of ``rows`` that no other of all the ``versions`` of their objects replaces."""
    if rows.num_rows == 0:
        return rows
    newest = latest(versions)
    place = pc.index_in(identity_keys(rows), value_set=identity_keys(newest))
    same = [pc.equal(rows[name], newest[name].take(place)) for name in ("batch", "recorded_at")]
    return latest(rows.filter(pc.and_(*same)))


def identity_keys(table: pa.Table) -> pa.Array:
    """One string an object version; equal exactly when the identities are (keys hold no NUL byte)."""
    compute = pa.compute
    texts = [
        table["uri"],
        compute.cast(table["size"], pa.string()),
        compute.fill_null(table["etag"], "\x01"),
        compute.fill_null(table["version_id"], "\x01"),
    ]
    joined = compute.binary_join_element_wise(*texts, "\x00")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def outcome_rows(result: Result, *, table_version: int) -> pa.Table:
    """The ledger rows of one batch, sorted by uri so that scans can skip."""
    recorded_at = datetime.now(UTC)
    outcomes = sorted(result.outcomes, key=lambda outcome: outcome.planned.info.uri)
    rows = [_row(outcome, result, table_version, recorded_at) for outcome in outcomes if outcome.outcome != "kept"]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(outcome: ObjectOutcome, result: Result, table_version: int, recorded_at: datetime) -> dict[str, object]:
    info, rows = outcome.planned.info, outcome.rows
    return {
        "uri": info.uri,
        "size": info.size,
        "etag": info.etag,
        "version_id": info.version_id,
        "modified_at": info.modified_at,
        "batch": result.batch,
        "outcome": outcome.outcome,
        "tries": outcome.tries,
        "rows_read": rows.read,
        "rows_generated": rows.generated,
        "rows_written": rows.written,
        "rows_quarantined": rows.quarantined,
        "rows_dropped": rows.dropped,
        "rows_filtered": rows.filtered,
        "rows_deduplicated": rows.deduplicated,
        "rows_rescued": rows.rescued,
        "bytes": outcome.bytes_read,
        "error_code": outcome.code,
        "error": outcome.error,
        "error_line": outcome.line,
        "error_column": outcome.column,
        "replays": result.replays,
        "table_version": table_version,
        "run_id": result.run_id,
        # Of a version that is loaded anew in the batch that takes out its earlier rows, being loaded counts.
        "recorded_at": recorded_at - timedelta(microseconds=outcome.planned.takes is not None),
        "takes": outcome.planned.takes,
        "rows_removed": outcome.rows_removed if outcome.planned.takes is not None else None,
        "provenance": result.provenance,
        "rows_unnested": sum(outcome.unnested.values()) if result.children else None,
    }


def _widen(handle: TableHandle) -> None:
    """Give an earlier version's ledger today's columns."""
    if len(handle.schema) < len(SCHEMA):
        add_columns(handle.uri, list(SCHEMA))


def widen_ledger(identity: ImportId) -> None:
    """Give the import's ledger today's columns."""
    handle = Ledger(identity).open()
    if handle is not None:
        _widen(handle)


def _selected(handle: TableHandle, columns: Iterable[str]) -> str:
    """The columns as SQL; null for one that an earlier version's ledger lacks."""
    known = set(handle.schema.names)
    absent = {name: _SQL_TYPES[SCHEMA.field(name).type] for name in columns if name not in known}
    return ", ".join(f'CAST(NULL AS {absent[name]}) AS "{name}"' if name in absent else f'"{name}"' for name in columns)


def _whole(handle: TableHandle) -> str:
    """The ledger with all of today's columns, as SQL."""
    return f"(SELECT {_selected(handle, SCHEMA.names)} FROM this)"  # noqa: S608 - names of ours


_SQL_TYPES = {pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN"}


def quoted(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def windows(pages: Iterator[pa.RecordBatch], *, rows: int) -> Iterator[pa.Table]:
    """The pages of a listing, gathered to tables of at least ``rows`` rows but for the last."""
    held: list[pa.RecordBatch] = []
    count = 0
    for page in pages:
        held.append(page)
        count += page.num_rows
        if count >= rows:
            yield pa.Table.from_batches(held)
            held, count = [], 0
    if held:
        yield pa.Table.from_batches(held)
