"""What happened to every object version, as a Delta table that any reader can query.

The ledger is at ``<import folder>/ledger``. Rows are only ever appended: a batch's rows in one commit that carries
the batch's number as its transaction id, so a batch is recorded once. Of several rows for one object version the one
with the highest ``(batch, recorded_at)`` counts. It is rebuilt from manifests, results and the table's history when
it is lost: an import finds the batches that the table has and the ledger has not, and records them from the results
that their commits name.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.commit import record_rows
from lakeray.delta.query import file_count, query
from lakeray.delta.table import TableHandle, create_table, open_table
from lakeray.errors import ExactlyOnceError, TableError
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
    ]
)
"""``outcome`` is one of loaded, partly_loaded (some records are in quarantine), failed (tried again), poison (not any
more), superseded (changed while it was read), skipped (a policy or ``abandon`` says so), reset (a person asked to
import it again)."""

IDENTITY = ("uri", "size", "etag", "version_id")
LOADED = ("loaded", "partly_loaded")
COMPACT_FILES = 100
_OWNER = "lakeray.app_id"
KEEP_LOG = {"delta.logRetentionDuration": "interval 3650 days"}  # its log says which result recorded a batch


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

        Raises ExactlyOnceError when it is the ledger of an earlier table under the same path.
        """
        try:
            handle = open_table(self.identity.ledger_uri)
        except TableError as error:
            raise ExactlyOnceError(
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
        if self.open() is None:
            create_table(
                self.identity.ledger_uri,
                SCHEMA,
                partition_by=[],
                properties={_OWNER: self.identity.app_id, **KEEP_LOG},
            )
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
        app_id = f"{self.identity.ledger_app_id}/reset-{uuid.uuid4().hex}"
        record_rows(self.identity.ledger_uri, full, app_id=app_id, number=1, prefix="reset")
        return count

    def scan(self, *, after: str | None, up_to: str | None, columns: tuple[str, ...]) -> pa.Table:
        """Rows of the uris in ``(after, up_to]``, unordered; None means no bound."""
        handle = self.open()
        if handle is None:
            return SCHEMA.empty_table().select(list(columns))
        where = [f"uri > {_quoted(after)}"] if after is not None else []
        where += [f"uri <= {_quoted(up_to)}"] if up_to is not None else []
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        return query(handle, f"SELECT {', '.join(columns)} FROM this{condition}")  # noqa: S608 - quoted

    def rows(self, condition: str = "true", *, limit: int | None = None) -> pa.Table:
        """Rows for which the SQL ``condition`` holds, newest batch first."""
        handle = self.open()
        if handle is None:
            return SCHEMA.empty_table()
        tail = f" LIMIT {limit}" if limit is not None else ""
        return query(handle, f"SELECT * FROM this WHERE {condition} ORDER BY batch DESC, uri, recorded_at DESC{tail}")  # noqa: S608

    def compact(self) -> None:
        """Merge its files when there are many: scans stay fast and nothing else changes."""
        handle = self.open()
        if handle is not None and file_count(handle) > COMPACT_FILES:
            optimize(handle.uri)


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
    rows = [_row(outcome, result, table_version, recorded_at) for outcome in outcomes]
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
        "recorded_at": recorded_at,
    }


def _quoted(text: str) -> str:
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
