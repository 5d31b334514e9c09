"""Daft on its native runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.answers import Written


def start() -> None:
    """Choose the runner."""
    import daft

    daft.set_runner_native()


def w1(source: Path, out: Path) -> Callable[[], Written]:
    """Parquet to Delta."""
    import daft

    table = out / "table"

    def work() -> Written:
        daft.read_parquet(f"{source}/*.parquet").write_deltalake(str(table))
        return Written(table=table)

    return work


def w2(source: Path, out: Path) -> Callable[[], Written]:
    """JSON lines to Delta; its times, inferred in seconds, become the microseconds that Delta takes."""
    import daft

    table = out / "table"
    microseconds = daft.DataType.timestamp("us", "UTC")

    def work() -> Written:
        read = daft.read_json(f"{source}/*.json.gz")
        read.with_column("at", daft.col("at").cast(microseconds)).write_deltalake(str(table))
        return Written(table=table)

    return work


def w3(source: Path, out: Path) -> Callable[[], Written]:
    """Dirty CSV: checked once and kept, then the two halves are written."""
    import daft

    table, refused = out / "table", out / "refused"
    texts = ("order_id", "customer_id", "amount", "quantity", "status", "email", "country", "placed_at")
    schema = {name: daft.DataType.string() for name in texts}

    def work() -> Written:
        raw = daft.read_csv(f"{source}/*.csv", schema=schema, infer_schema=False)
        checked = _checked(raw).collect()
        rule = daft.col("rule")
        checked.where(rule.is_null()).select(*_good()).write_deltalake(str(table))
        checked.where(rule.not_null()).select(*texts, "rule").write_deltalake(str(refused))
        return Written(table=table, refused=refused)

    return work


_TYPED = ("order_id", "customer_id", "amount", "quantity", "placed_at")


def _checked(raw: Any) -> Any:
    import daft
    from daft import DataType, col, lit

    cast = raw.with_columns(
        {
            "good_order_id": col("order_id").try_cast(DataType.int64()),
            "good_customer_id": col("customer_id").try_cast(DataType.int64()),
            "good_amount": col("amount").try_cast(DataType.float64()),
            "good_quantity": col("quantity").try_cast(DataType.int64()),
            "good_placed_at": col("placed_at").try_cast(DataType.timestamp("us")),
        }
    )

    def broken(condition: Any) -> Any:
        return ~condition.fill_null(lit(False))

    statuses = ["new", "paid", "shipped", "returned"]
    rule = (
        daft.functions.when(col("good_order_id").is_null(), lit("id_present"))
        .when(broken(col("good_amount") > 0), lit("amount_positive"))
        .when(broken(col("good_quantity").between(1, 100)), lit("quantity_in_range"))
        .when(broken(col("status").is_in(statuses)), lit("status_known"))
        .when(col("good_placed_at").is_null(), lit("placed_at_known"))
        .otherwise(lit(None).cast(DataType.string()))
    )
    return cast.with_column("rule", rule)


def _good() -> list[Any]:
    from daft import col

    typed = [col(f"good_{name}").alias(name) for name in _TYPED]
    return [*typed, col("status"), col("email"), col("country")]
