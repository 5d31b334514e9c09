"""Duplicates, rules over sets and reprocessing do the same on local disk, S3 and Azurite, and on both ways of Ray."""

from __future__ import annotations

import json

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.delta.query import query
from lakeray.delta.table import require_table
from lakeray.objects import open_store
from lakeray.spec.load import load_workflow

TEXT = """
workflow: orders
tenant: acme
sources:
  people: {uri: ROOT/people/, format: json, schema_hints: {id: int64}}
  raw: {uri: ROOT/raw/, format: json, schema_hints: {id: int64, amount: double, customer: int64, at: timestamp}}
tables:
  customers: {uri: ROOT/silver/customers}
  orders: {uri: ROOT/silver/orders, partition_by: [day]}
steps:
  people:
    import: {from: people, into: customers}
  ingest:
    after: [people]
    import: {from: raw, into: orders}
    select: {day: "CAST(at AS DATE)"}
    expect: {small: {sql: "amount < LIMIT", on_violation: quarantine}}
    mask: {email: {hmac_sha256: "env:MASK_KEY"}}
    deduplicate: {key: [id], keep: {latest: at}}
    expect_set:
      known: {references: {column: customer, to: customers.id}, on_violation: quarantine}
      one_email: {unique: [email], against: table, on_violation: quarantine}
      enough: {sql: "SELECT count(*) > 2 AND min(day) > DATE '2023-01-01' FROM batch", on_violation: fail}
      spread: {distribution: {column: amount, metric: mean}, on_violation: warn}
"""


def put(root, name, *rows):
    uri = f"{root}{name}"
    open_store(uri).put(uri, b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def order(number, day, *, customer=1, amount=5.0, email=None):
    at = f"2024-05-0{day}T10:00:00"
    return {"id": number, "at": at, "customer": customer, "amount": amount, "email": email or f"{number}@x"}


def fill(root):
    put(root, "people/a.json", {"id": 1}, {"id": 2})
    put(root, "raw/a ü.json", order(1, 1), order(2, 1), order(1, 2), order(3, 1, customer=9))
    put(root, "raw/b.json", order(2, 3), order(4, 2), order(5, 2, email="4@x"), order(6, 2, amount=500.0))


def workflow(root, *, limit=100):
    return load_workflow(TEXT.replace("ROOT", root.rstrip("/")).replace("LIMIT", str(limit)))


def check(root, settings):
    lake = lakeray.connect(settings=settings)
    summary = lake.run(workflow(root)).result(timeout=200)
    assert summary.state == "succeeded", summary.errors
    imported = summary.steps[1].imported
    rows = imported.rows
    assert (rows.read, rows.written, rows.quarantined, rows.deduplicated) == (8, 3, 3, 2)
    found = {name: (item.violated, item.rows) for name, item in imported.set_expectations.items()}
    assert found == {"known": (1, 1), "one_email": (1, 1), "enough": (0, 0), "spread": (0, 0)}
    orders = require_table(f"{root}silver/orders")
    seen = query(orders, "SELECT id, CAST(day AS VARCHAR) AS day FROM this ORDER BY id").to_pylist()
    assert [tuple(row.values()) for row in seen] == [(1, "2024-05-02"), (2, "2024-05-03"), (4, "2024-05-02")]

    quarantine = lake.quarantine(workflow(root, limit=1000), step="ingest")
    assert quarantine.count().to_pydict()["rule"] == ["expect:small", "expect_set:known", "expect_set:one_email"]
    again = quarantine.reprocess().result(timeout=200)
    assert again.state == "succeeded", again.errors
    rows = again.steps[0].imported.rows
    assert (rows.read, rows.written, rows.quarantined) == (3, 1, 2)
    assert query(require_table(f"{root}silver/orders"), "SELECT id FROM this WHERE id = 6").num_rows == 1
    assert quarantine.count().to_pydict()["rule"] == ["expect_set:known", "expect_set:one_email"]
    assert lake.run(workflow(root)).result(timeout=200).steps[1].imported.rows.read == 0


def test_everywhere_the_same(lake_root, monkeypatch):
    monkeypatch.setenv("MASK_KEY", "a-key-of-the-tests")
    fill(lake_root)
    check(lake_root, Settings(executor="inline"))


@pytest.fixture(scope="module")
def ray_lake():
    """A connection whose Ray lives as long as this module."""
    lake = lakeray.connect(settings=Settings(cpus=2))
    yield lake
    lake.close()


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["tasks", "dataset"])
def test_on_ray_the_same(tmp_path, monkeypatch, ray_lake, kind):
    monkeypatch.setenv("MASK_KEY", "a-key-of-the-tests")
    fill(f"{tmp_path}/lake/")
    check(f"{tmp_path}/lake/", Settings(cpus=2, executor=kind))
