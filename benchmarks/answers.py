"""Whether an engine wrote what it should have, read back through the table's own log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

_ID = {"w1": ["id"], "w2": ["id"], "w3": ["order_id"]}
_QUANTITY = {"w1": ["quantity"], "w2": ["user.id", "user__id"], "w3": ["quantity"]}
_TIME = {"w1": ["placed_at"], "w2": ["at"], "w3": ["placed_at"]}


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a command left behind: a Delta table and, where rows are refused, another with a column ``rule``."""

    table: Path
    refused: Path | None = None


def problem(written: Written, workload: str, expected: dict[str, Any]) -> str | None:
    """What is wrong with the tables, or None when every number is the expected one."""
    family = workload.split("-", maxsplit=1)[0]
    found: dict[str, Any] = dict(_totals(written.table, family))
    if written.refused is not None:
        rules = _rules(written.refused)
        if "rules" in expected:
            found["rules"] = {name: rules.get(name, 0) for name in expected["rules"]}
        found["refused"] = sum(rules.values())
    if "statuses" in expected:
        found.update(_cleansed(written.table))
    wanted = {**expected, "refused": expected.get("refused", expected.get("malformed", 0))}
    for name, value in found.items():
        if value != wanted[name]:
            return f"wrong answer: {name} is {value}, expected {wanted[name]}"
    return None


def _totals(table: Path, family: str) -> dict[str, int]:
    from deltalake import DeltaTable

    data = DeltaTable(str(table)).to_pyarrow_dataset()
    columns = {
        "id": _column(data.schema, _ID[family]),
        "quantity": _column(data.schema, _QUANTITY[family]),
        "time": _column(data.schema, _TIME[family]),
    }
    totals = {"rows": 0, "sum_id": 0, "sum_quantity": 0, "min_time_us": 1 << 62, "max_time_us": 0}
    for batch in data.scanner(columns=columns, batch_size=1 << 18).to_batches():
        if not batch.num_rows:
            continue
        times = pc.min_max(_microseconds(batch["time"]))
        totals["rows"] += batch.num_rows
        totals["sum_id"] += pc.sum(batch["id"].cast(pa.int64())).as_py() or 0
        totals["sum_quantity"] += pc.sum(batch["quantity"].cast(pa.int64())).as_py() or 0
        totals["min_time_us"] = min(totals["min_time_us"], times["min"].as_py() or totals["min_time_us"])
        totals["max_time_us"] = max(totals["max_time_us"], times["max"].as_py() or 0)
    return totals


def _cleansed(table: Path) -> dict[str, Any]:
    """Rows by status, and the sum over the first 32 bits of all digests."""
    from deltalake import DeltaTable

    rows = DeltaTable(str(table)).to_pyarrow_dataset().to_table(columns=["status", "email"])
    counts = {item["values"]: item["counts"] for item in pc.value_counts(rows["status"]).to_pylist()}
    digests = rows["email"].combine_chunks().dictionary_encode()
    values = pa.array([int(text[:8], 16) for text in digests.dictionary.to_pylist()], pa.int64())
    return {"statuses": dict(sorted(counts.items())), "sum_digests": pc.sum(values.take(digests.indices)).as_py()}


def _column(schema: pa.Schema, candidates: list[str]) -> ds.Expression:
    for name in candidates:
        parts = name.split(".")
        if parts[0] in schema.names:
            return ds.field(*parts)
    raise LookupError(f"none of the columns {candidates} is in the table, which has {schema.names}")


def _microseconds(values: pa.Array) -> pa.Array:
    """Times as microseconds since 1970; texts are read as ISO 8601."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string()).cast(pa.timestamp("us", tz="UTC"))
    tz = values.type.tz if pa.types.is_timestamp(values.type) else None
    return values.cast(pa.timestamp("us", tz=tz)).cast(pa.int64())


def _rules(table: Path) -> dict[str, int]:
    from deltalake import DeltaTable

    if not (table / "_delta_log").exists():
        return {}
    counts = pc.value_counts(DeltaTable(str(table)).to_pyarrow_dataset().to_table(columns=["rule"])["rule"])
    return {row["values"].removeprefix("expect:"): row["counts"] for row in counts.to_pylist()}
