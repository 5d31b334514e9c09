"""Polars: lazy scans, its streaming engine, its Delta sink (which writes through delta-rs)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.answers import Written
from benchmarks.peers.delta_rs import properties


def w1(source: Path, out: Path) -> Callable[[], Written]:
    """Parquet to Delta."""
    import polars as pl

    table, options = out / "table", {"writer_properties": properties()}

    def work() -> Written:
        pl.scan_parquet(source / "*.parquet").sink_delta(table, delta_write_options=options)
        return Written(table=table)

    return work


def w2(source: Path, out: Path) -> Callable[[], Written]:
    """JSON lines to Delta."""
    import polars as pl

    table, options = out / "table", {"writer_properties": properties()}

    def work() -> Written:
        pl.scan_ndjson(source / "*.json.gz").sink_delta(table, delta_write_options=options)
        return Written(table=table)

    return work


def w3(source: Path, out: Path) -> Callable[[], Written]:
    """Dirty CSV: one streaming pass, then the two halves are written."""
    import polars as pl

    table, refused, options = out / "table", out / "refused", {"writer_properties": properties()}

    def work() -> Written:
        checked = _checked(pl.scan_csv(source / "*.csv", infer_schema=False)).collect(engine="streaming")
        good = checked.filter(pl.col("rule").is_null())
        good.select(_good(pl)).write_delta(table, delta_write_options=options)
        bad = checked.filter(pl.col("rule").is_not_null()).select(pl.all().exclude("^good_.*$"))
        bad.write_delta(refused, delta_write_options=options)
        return Written(table=table, refused=refused)

    return work


_TYPED = ("order_id", "customer_id", "amount", "quantity", "placed_at")


def _checked(raw: Any) -> Any:
    """The texts, beside them what they are when cast, and the first rule that the row breaks."""
    import polars as pl

    cast = raw.with_columns(
        good_order_id=pl.col("order_id").cast(pl.Int64, strict=False),
        good_customer_id=pl.col("customer_id").cast(pl.Int64, strict=False),
        good_amount=pl.col("amount").cast(pl.Float64, strict=False),
        good_quantity=pl.col("quantity").cast(pl.Int64, strict=False),
        good_placed_at=pl.col("placed_at").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_zone="UTC"),
    )

    def broken(condition: Any) -> Any:
        return ~condition.fill_null(value=False)

    statuses = ["new", "paid", "shipped", "returned"]
    return cast.with_columns(
        rule=pl.when(pl.col("good_order_id").is_null())
        .then(pl.lit("id_present"))
        .when(broken(pl.col("good_amount") > 0))
        .then(pl.lit("amount_positive"))
        .when(broken(pl.col("good_quantity").is_between(1, 100)))
        .then(pl.lit("quantity_in_range"))
        .when(broken(pl.col("status").is_in(statuses)))
        .then(pl.lit("status_known"))
        .when(pl.col("good_placed_at").is_null())
        .then(pl.lit("placed_at_known"))
    )


def _good(pl: Any) -> list[Any]:
    typed = [pl.col(f"good_{name}").alias(name) for name in _TYPED]
    return [*typed, pl.col("status"), pl.col("email"), pl.col("country")]
