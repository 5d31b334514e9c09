"""DuckDB: its own readers and SQL; its users write Delta through Parquet files or through delta-rs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.answers import Written
from benchmarks.peers.delta_rs import properties

_CASTS = """
    SELECT TRY_CAST(order_id AS BIGINT) AS order_id, TRY_CAST(customer_id AS BIGINT) AS customer_id,
           TRY_CAST(amount AS DOUBLE) AS amount, TRY_CAST(quantity AS BIGINT) AS quantity, status, email, country,
           TRY_CAST(placed_at AS TIMESTAMP) AS placed_at, raw
    FROM (SELECT *, raw: {'order_id': order_id, 'customer_id': customer_id, 'amount': amount, 'quantity': quantity,
                          'status': status, 'email': email, 'country': country, 'placed_at': placed_at}
          FROM read_csv('%s/*.csv', all_varchar=true, header=true))
"""
_RULE = """
    CASE WHEN order_id IS NULL THEN 'id_present'
         WHEN amount IS NULL OR amount <= 0 THEN 'amount_positive'
         WHEN quantity IS NULL OR quantity NOT BETWEEN 1 AND 100 THEN 'quantity_in_range'
         WHEN status IS NULL OR status NOT IN ('new', 'paid', 'shipped', 'returned') THEN 'status_known'
         WHEN placed_at IS NULL THEN 'placed_at_known' END
"""


def w1(source: Path, out: Path) -> Callable[[], Written]:
    """Parquet to Delta."""
    import duckdb
    from deltalake import convert_to_deltalake

    table = out / "table"

    def work() -> Written:
        with duckdb.connect() as db:
            db.execute("SET preserve_insertion_order = false")
            db.execute(
                f"COPY (FROM read_parquet('{source}/*.parquet')) TO '{table}' "
                "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PER_THREAD_OUTPUT)"
            )
        convert_to_deltalake(str(table))
        return Written(table=table)

    return work


def w2(source: Path, out: Path) -> Callable[[], Written]:
    """JSON lines to Delta."""
    import duckdb
    from deltalake import write_deltalake

    table, options = out / "table", properties()
    lenient = ", ignore_errors=true" if "malformed" in str(source) else ""

    def work() -> Written:
        with duckdb.connect() as db:
            db.execute("SET preserve_insertion_order = false")
            found = db.sql(f"FROM read_json('{source}/*.json.gz', format='newline_delimited'{lenient})")
            write_deltalake(str(table), _reader(found), writer_properties=options)
        return Written(table=table)

    return work


def w3(source: Path, out: Path) -> Callable[[], Written]:
    """Dirty CSV: cast once into a temporary table, then two selections."""
    import duckdb
    from deltalake import write_deltalake

    table, refused, options = out / "table", out / "refused", properties()

    def work() -> Written:
        with duckdb.connect() as db:
            db.execute("SET preserve_insertion_order = false")
            db.execute(f"CREATE TEMP TABLE checked AS SELECT *, {_RULE} AS rule FROM ({_CASTS % source})")
            good = db.sql("SELECT * EXCLUDE (raw, rule) FROM checked WHERE rule IS NULL")
            write_deltalake(str(table), _reader(good), writer_properties=options)
            bad = db.sql("SELECT raw.*, rule FROM checked WHERE rule IS NOT NULL")
            write_deltalake(str(refused), _reader(bad), writer_properties=options)
        return Written(table=table, refused=refused)

    return work


def _reader(relation: Any) -> Any:
    return (
        relation.to_arrow_reader(1_000_000)
        if hasattr(relation, "to_arrow_reader")
        else relation.fetch_record_batch(1_000_000)
    )
