"""The ledger is a plain Delta table of plain Parquet files: any reader can ask it."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from lakeray.importer.recording.ledger import COMPACT_FILES, SCHEMA, Ledger
from tests.sample_lake import read
from tests.unit.importer.small_lake import SmallLake, lines


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = SmallLake(tmp_path_factory.mktemp("lake"), plan={"batch": {"max_objects": 2}})
    for n in range(5):
        lake.put(f"{n}.json", lines({"id": n}, b"bad" if n == 3 else {"id": 10 + n}))
    lake.put("9.json.gz", gzip.compress(lines({"id": 9}))[:-5])
    lake.run()
    return lake


EXPECTED = [
    ("0.json", 1, "loaded", 2, 2, None),
    ("1.json", 1, "loaded", 2, 2, None),
    ("2.json", 2, "loaded", 2, 2, None),
    ("3.json", 2, "partly_loaded", 2, 1, 2),
    ("4.json", 3, "loaded", 2, 2, None),
    ("9.json.gz", 3, "failed", 0, 0, None),
]
NAMES = ["uri", "batch", "outcome", "rows_read", "rows_written", "error_line"]


def plain(rows):
    return sorted((Path(uri).name, *rest) for uri, *rest in rows)


def test_delta_rs(lake):
    rows = read(lake.ledger().identity.ledger_uri).select(NAMES).to_pylist()
    assert plain(row.values() for row in rows) == EXPECTED


def test_polars(lake):
    assert plain(pl.scan_delta(lake.ledger().identity.ledger_uri).select(NAMES).collect().rows()) == EXPECTED


def test_duckdb_over_the_files(lake):
    sql = f"SELECT {', '.join(NAMES)} FROM read_parquet('{lake.ledger().identity.ledger_uri}/*.parquet')"
    assert plain(duckdb.sql(sql).fetchall()) == EXPECTED


def test_pyarrow_over_the_files(lake):
    files = sorted(Path(lake.ledger().identity.ledger_uri).glob("*.parquet"))
    assert plain(row.values() for file in files for row in pq.read_table(file).select(NAMES).to_pylist()) == EXPECTED
    assert {tuple(pq.read_schema(file).names) for file in files} == {tuple(SCHEMA.names)}


def test_questions_that_people_ask(lake):
    ledger = pl.scan_delta(lake.ledger().identity.ledger_uri)
    failed = ledger.filter(pl.col("outcome") == "failed").select("error").collect()["error"].to_list()
    assert len(failed) == 1
    assert "gzip" in failed[0]
    total = ledger.select(pl.col("rows_read").sum(), pl.col("bytes").sum()).collect()
    sizes = sum(path.stat().st_size for path in lake.raw.glob("*.json"))
    assert total.row(0) == (10, sizes)


def test_many_small_files_are_brought_together(tmp_path, monkeypatch):
    monkeypatch.setattr("lakeray.importer.recording.ledger.COMPACT_FILES", 3)
    assert COMPACT_FILES > 3
    lake = SmallLake(tmp_path, plan={"batch": {"max_objects": 1}})
    for n in range(6):
        lake.put(f"{n}.json", lines({"id": n}))
    lake.run()
    assert set(lake.outcomes().values()) == {"loaded"}
    assert len(lake.outcomes()) == 6
    lake.put("7.json", lines({"id": 7}))
    assert [batch.number for batch in lake.run().batches] == [7], "the number of the last batch outlives the compaction"
    assert isinstance(lake.ledger(), Ledger)
