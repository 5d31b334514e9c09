"""What format 1 of manifests, results and ledger once wrote still loads, means the same, and can be gone on from.

``format_1/lake`` is a table ``t`` with its quarantine, as the first version left them after two imports: four batches
with a row of every kind of outcome. These files are never written again: a release that cannot read them is wrong.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lakeray.errors import ExactlyOnceError
from lakeray.importer.manifest import Manifest, load_manifest
from lakeray.importer.recording.amend import LedgerOf
from lakeray.importer.recording.ledger import SCHEMA, latest
from lakeray.importer.recording.summary import ExpectationSummary, Rows
from lakeray.importer.result import Result, load_result
from tests.unit.importer.small_lake import SmallLake, lines

GOLDEN = Path(__file__).parent / "format_1" / "lake"
APP = "lakeray/66beb641-32db-5214-8b01-399a8161e8d8/ingest/"


@pytest.fixture
def lake(tmp_path):
    """A copy of the stored lake under today's code."""
    shutil.copytree(GOLDEN, tmp_path / "silver")
    lake = SmallLake(tmp_path)
    lake.raw.mkdir()
    return lake


@pytest.fixture
def identity(lake):
    return lake.ledger().identity


def test_manifests(identity):
    first, third = load_manifest(identity, 1), load_manifest(identity, 3)
    assert isinstance(first, Manifest)
    assert (first.batch, first.source_uri, first.mode, first.replays) == (1, "/lake/raw/", "append", None)
    assert first.app_id.startswith(APP)
    assert (first.created_at, first.seed, first.nonce) == (
        datetime(2024, 5, 1, 12, tzinfo=UTC),
        8198949788454757447,
        "d5dd2dbbab64cf44",
    )
    info = first.objects[0].info
    assert (info.uri, info.size, info.etag, info.version_id) == (
        "/lake/raw/a.json",
        50,
        "18eab9ecd8176847-97c00f",
        None,
    )
    assert info.modified_at == datetime(2026, 11, 23, 16, 37, 8, 349397, tzinfo=UTC)
    assert first.size_bytes == 143
    assert third is not None
    assert [(Path(item.info.uri).name, item.tries, bool(item.skip)) for item in third.objects] == [
        ("a.json", 0, True),
        ("c.json.gz", 1, False),
    ]
    assert load_manifest(identity, 5) is None


def test_results(identity):
    first = load_result(identity, "0000000001-89556b4a.json")
    assert isinstance(first, Result)
    assert (first.batch, first.attempt, first.run_id, first.manifest_nonce) == (
        1,
        "89556b4a",
        "run-1",
        "d5dd2dbbab64cf44",
    )
    assert [(outcome.outcome, outcome.rows, outcome.line, outcome.column) for outcome in first.outcomes] == [
        ("loaded", Rows(read=2, written=2), None, None),
        ("partly_loaded", Rows(read=4, written=1, quarantined=2, filtered=1), 2, 2),
    ]
    assert first.outcomes[1].code == "malformed"
    assert [
        (file.rows, file.size_bytes, file.partition_values) for file in (*first.files, *first.quarantine_files)
    ] == [(3, 440, {}), (2, 3854, {})]
    assert first.source_schema == {"id": "int64", "name": "string"}
    assert first.expectations["small"] == ExpectationSummary(on_violation="quarantine", checked=4, violated=1)
    assert (first.replays, first.restores_checked, first.abandoned, first.new_columns) == (None, 0, False, [])
    assert load_result(identity, "0000000004-6cce6a4b.json").new_columns == ["added"]
    third = load_result(identity, "0000000003-06030fc8.json")
    assert [(outcome.outcome, outcome.tries) for outcome in third.outcomes] == [("skipped", 0), ("poison", 2)]


OUTCOMES = [
    ("a.json", 1, "loaded", 2, 2, 0),
    ("a.json", 3, "skipped", 0, 0, 0),
    ("b.json", 1, "partly_loaded", 4, 1, 0),
    ("c.json.gz", 3, "poison", 0, 0, 2),
    ("d.json", 4, "loaded", 1, 1, 0),
]


def counting(rows):
    names = ("uri", "batch", "outcome", "rows_read", "rows_written", "tries")
    return sorted((Path(row["uri"]).name, *(row[name] for name in names[1:])) for row in rows.to_pylist())


def test_ledger(lake):
    rows = lake.ledger().rows()
    assert rows.schema.names == SCHEMA.names
    assert counting(latest(rows)) == OUTCOMES
    assert rows.num_rows == 6, "the failed try before the poisoned one as well"


def test_an_import_goes_on_behind_it(lake):
    lake.put("e.json", lines({"id": 6, "name": "six", "added": 2.5}))
    summary = lake.run()
    assert [batch.number for batch in summary.batches] == [5]
    assert summary.deleted == 0, "other sources' objects are none of this one's"
    assert sorted(lake.rows("id")) == [1, 2, 3, 5, 6]
    assert sorted(lake.quarantined("row")) == [2, 4]


def test_the_ledger_is_rebuilt_from_it(lake, identity):
    shutil.rmtree(identity.ledger_uri)
    LedgerOf(lake.context()).rebuild()
    assert counting(lake.ledger_rows()) == OUTCOMES
    lake.run()
    assert counting(lake.ledger_rows()) == OUTCOMES


def test_a_reset_works_on_it(lake):
    assert LedgerOf(lake.context()).reset(outcomes=["poison"]) == 1
    assert "reset" in lake.ledger_rows()["outcome"].to_pylist()


def test_a_changed_byte_is_noticed(lake, identity):
    path = Path(identity.folder) / "results" / "0000000004-6cce6a4b.json"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ExactlyOnceError, match="0000000004-6cce6a4b"):
        lake.run()
