"""One workflow text gives the same on local disk, on an S3 server and on Azurite: only the uris change."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pyarrow as pa

import lakeray
from lakeray.config import Settings
from lakeray.delta.query import query
from lakeray.delta.table import require_table
from lakeray.importer.recording.ledger import latest
from lakeray.objects import open_store
from lakeray.runtime.summary import RunSummary
from lakeray.spec.load import load_workflow

TEXT = """
workflow: orders
tenant: acme
sources:
  raw:
    uri: ROOT/raw/
    format: json
    schema_hints: {id: int64, amount: double}
tables:
  orders:
    uri: ROOT/silver/orders
    partition_by: [day]
steps:
  ingest:
    import: {from: raw, into: orders, batch: {max_objects: 3}}
    select: {cents: "CAST(amount * 100 AS BIGINT)", size: "_object.size"}
    where: "status <> 'test'"
    expect:
      positive: {sql: "amount > 0", on_violation: drop}
      small: {sql: "amount < 1000", on_violation: quarantine}
    mask: {email: {hmac_sha256: "env:MASK_KEY"}}
"""


def lines(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "amount": number + 0.25, "status": "paid", "email": f"{number}@example.com", **more}


FIRST = {
    "day=2024-01-01/a.json": lines(row(1), row(2, status="test"), b"{malformed", row(3, amount=-1)),
    "day=2024-01-01/b ü+%=.json": lines(row(4), row(5, amount=5000)),
    "day=2024-01-02/c.json.gz": gzip.compress(lines(row(6), row(7)), mtime=0),
    "day=2024-01-02/d.json.gz": gzip.compress(lines(row(8)), mtime=0)[:-9],
    "day=2024-01-03/e.json": b"",
    "_SUCCESS": b"",
}
SECOND = {
    "day=2023-12-31/late.json": lines(row(9, new={"nested": [1, 2]})),
    "day=2024-01-02/d.json.gz": gzip.compress(lines(row(8)), mtime=0),
    "day=2024-01-01/a.json": lines(row(99), row(100)),
}


def put(root: str, objects: dict[str, bytes]) -> None:
    store = open_store(root)
    for name, data in objects.items():
        store.put(f"{root}raw/{name}", data)


def run(root: str) -> RunSummary:
    workflow = load_workflow(TEXT.replace("ROOT", root.rstrip("/")))
    return lakeray.connect(settings=Settings(executor="inline")).run(workflow).result(timeout=120)


def rows(uri: str, *columns: str) -> set[tuple[Any, ...]]:
    """Distinct rows; their number is compared apart."""
    names = ", ".join(f'"{name}"' for name in columns)
    found = query(require_table(uri), f"SELECT {names} FROM this")
    return {tuple(values.values()) for values in found.to_pylist()}


def ledger(root: str) -> dict[str, tuple[Any, ...]]:
    workflow = load_workflow(TEXT.replace("ROOT", root.rstrip("/")))
    table = latest(lakeray.connect(settings=Settings(executor="inline")).ledger(workflow).show(limit=None))
    assert isinstance(table, pa.Table)
    found = {}
    for item in table.to_pylist():
        name = item["uri"].removeprefix(f"{root}raw/")
        terms = tuple(item[f"rows_{term}"] for term in ("read", "written", "quarantined", "dropped", "filtered"))
        found[f"{name}#{item['outcome']}"] = (item["size"], item["batch"], item["tries"], *terms)
    return found


def test_everywhere_the_same(lake_root, monkeypatch):
    monkeypatch.setenv("MASK_KEY", "a-key-of-the-tests")
    put(lake_root, FIRST)
    first = run(lake_root)
    assert first.state == "succeeded", first.errors
    put(lake_root, SECOND)
    second = run(lake_root)
    assert second.state == "succeeded", second.errors
    third = run(lake_root)
    table = f"{lake_root}silver/orders"

    whole = query(require_table(table), "SELECT count(*) AS n, count(DISTINCT id) AS d FROM this").to_pylist()
    assert whole == [{"n": 6, "d": 6}]
    assert {(number, str(day), cents) for number, day, cents in rows(table, "id", "day", "cents")} == {
        (1, "2024-01-01", 125),
        (4, "2024-01-01", 425),
        (6, "2024-01-02", 625),
        (7, "2024-01-02", 725),
        (8, "2024-01-02", 825),
        (9, "2023-12-31", 925),
    }
    assert {len(email) for (email,) in rows(table, "email")} == {64}
    assert rows(f"{table}_quarantine", "row", "line", "rule") == {(3, 3, "malformed"), (2, None, "expect:small")}
    names = {uri.removeprefix(f"{lake_root}raw/") for (uri,) in rows(f"{table}_quarantine", "object_uri")}
    assert names == {"day=2024-01-01/a.json", "day=2024-01-01/b ü+%=.json"}
    sizes = {name: len(data) for name, data in FIRST.items()}
    assert ledger(lake_root) == {
        "day=2023-12-31/late.json#loaded": (len(SECOND["day=2023-12-31/late.json"]), 3, 0, 1, 1, 0, 0, 0),
        "day=2024-01-01/a.json#partly_loaded": (sizes["day=2024-01-01/a.json"], 1, 0, 4, 1, 1, 1, 1),
        "day=2024-01-01/a.json#skipped": (len(SECOND["day=2024-01-01/a.json"]), 3, 0, 0, 0, 0, 0, 0),
        "day=2024-01-01/b ü+%=.json#partly_loaded": (sizes["day=2024-01-01/b ü+%=.json"], 1, 0, 2, 1, 1, 0, 0),
        "day=2024-01-02/c.json.gz#loaded": (sizes["day=2024-01-02/c.json.gz"], 1, 0, 2, 2, 0, 0, 0),
        "day=2024-01-02/d.json.gz#failed": (sizes["day=2024-01-02/d.json.gz"], 2, 1, 0, 0, 0, 0, 0),
        "day=2024-01-02/d.json.gz#loaded": (len(SECOND["day=2024-01-02/d.json.gz"]), 3, 0, 1, 1, 0, 0, 0),
        "day=2024-01-03/e.json#loaded": (0, 2, 0, 0, 0, 0, 0, 0),
    }
    imported = [summary.steps[0].imported for summary in (first, second, third)]
    assert [(item.objects, item.changed, item.deleted) for item in imported if item] == [
        ({"partly_loaded": 2, "loaded": 2, "failed": 1}, 0, 0),
        ({"loaded": 2, "skipped": 1}, 1, 0),
        ({}, 0, 0),
    ]
    assert imported[1] is not None
    assert imported[1].new_columns == ["new"]
