"""lakeray through its public face, on a local Ray that is warm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.answers import Written
from benchmarks.data_csv import MASK_KEY

_LAKE: Any = None

_EXPECT = {
    "id_present": "order_id IS NOT NULL",
    "amount_positive": "amount > 0",
    "quantity_in_range": "quantity BETWEEN 1 AND 100",
    "status_known": "status IN ('new', 'paid', 'shipped', 'returned')",
    "placed_at_known": "placed_at IS NOT NULL",
}
_HINTS = {
    "order_id": "int64",
    "customer_id": "int64",
    "amount": "float64",
    "quantity": "int64",
    "status": "string",
    "email": "string",
    "country": "string",
    "placed_at": "timestamp",
}


def start() -> None:
    """Connect; Ray itself starts with the warm-up run."""
    global _LAKE  # noqa: PLW0603 - one lake a process
    import lakeray

    _LAKE = lakeray.connect()


def stop() -> None:
    """End Ray."""
    _LAKE.close()


def w1(source: Path, out: Path, *, codec: str = "zstd") -> Callable[[], Written]:
    """Parquet to Delta."""
    return _run(source, out, "parquet", {}, {}, codec=codec)


def w2(source: Path, out: Path) -> Callable[[], Written]:
    """JSON lines to Delta."""
    return _run(source, out, "json", {}, {})


def w3(source: Path, out: Path) -> Callable[[], Written]:
    """Dirty CSV to Delta and quarantine."""
    expect = {name: {"sql": sql, "on_violation": "quarantine"} for name, sql in _EXPECT.items()}
    return _run(source, out, "csv", {"schema_hints": _HINTS}, {"expect": expect})


def w3_plain(source: Path, out: Path) -> Callable[[], Written]:
    """Dirty CSV to Delta, every row written."""
    return _run(source, out, "csv", {"schema_hints": _HINTS}, {})


_CLEANSE = {
    "*": [{"trim": "ends"}, {"nulls": ["N/A", "n/a", "null"]}],
    "amount": [{"number": {"thousands": ","}}],
    "email": [{"case": "lower"}],
    "status": [{"enum": {"new": ["neu", "nouveau"], "paid": ["bezahlt"], "shipped": [], "returned": ["zurueck"]}}],
    "country": [{"case": "lower"}],
    "placed_at": [
        {"date": {"formats": ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S"], "type": "timestamp", "unfit": "null"}}
    ],
}


def w3_full(source: Path, out: Path) -> Callable[[], Written]:
    """W3 with cleansing and a keyed mask beside the expectations."""
    os.environ["BENCHMARK_MASK_KEY"] = MASK_KEY
    expect = {name: {"sql": sql, "on_violation": "quarantine"} for name, sql in _EXPECT.items()}
    step = {"cleanse": _CLEANSE, "expect": expect, "mask": {"email": {"hmac_sha256": "env:BENCHMARK_MASK_KEY"}}}
    return _run(source, out, "csv", {"schema_hints": _HINTS}, step)


w3_soiled = w3_full


def workflow(
    source: Path, table: Path, kind: str, options: dict[str, Any], step: dict[str, Any], *, codec: str = "zstd"
) -> dict[str, Any]:
    """The workflow file's content (JSON is YAML)."""
    return {
        "workflow": "bench",
        "tenant": "bench",
        "sources": {"lake": {"uri": f"{source}/", "format": kind, **options}},
        "tables": {"table": {"uri": str(table), "compression": codec}},
        "steps": {"ingest": {"import": {"from": "lake", "into": "table"}, **step}},
    }


def _run(
    source: Path, out: Path, kind: str, options: dict[str, Any], step: dict[str, Any], *, codec: str = "zstd"
) -> Callable[[], Written]:
    table = out / "table"
    file = out / "workflow.yaml"
    file.write_text(json.dumps(workflow(source, table, kind, options, step, codec=codec)))

    def work() -> Written:
        summary = _LAKE.run(file).result()
        if summary.state != "succeeded":
            raise RuntimeError("; ".join(error.message for error in summary.errors) or summary.state)
        problems = [
            item.error
            for step in summary.steps
            if step.imported
            for item in step.imported.problems
            if item.outcome == "failed"
        ]
        if problems:
            raise RuntimeError(f"an object failed: {problems[0]}")
        return Written(table=table, refused=Path(f"{table}_quarantine"))

    return work
