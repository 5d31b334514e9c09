"""Looking at a ledger takes memory by what is asked for, and an import that keeps watching does not grow."""

from __future__ import annotations

import fnmatch
import uuid
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from lakeray.delta.commit import record_rows
from lakeray.delta.table import create_table
from lakeray.errors import SpecError
from lakeray.importer.identity import ImportId
from lakeray.importer.recording import ledger as ledger_module
from lakeray.importer.recording import tally
from lakeray.importer.recording.amend import _condition
from lakeray.importer.recording.ledger import SCHEMA, Ledger, latest
from tests.unit.importer.small_lake import SmallLake, lines

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """A hundred batches of a hundred objects; those of the first half all failed and came again in the second."""
    folder = str(tmp_path_factory.mktemp("table"))
    identity = ImportId(pipeline=uuid.UUID(int=1), workflow="w", step="s", table_uri=folder, table_id="t")
    create_table(identity.ledger_uri, SCHEMA, properties={"lakeray.app_id": identity.app_id})
    rows = [
        {
            "uri": f"/raw/{(batch - 1) % 50:02d}/{number:02d}.json",
            "size": 1,
            "etag": "e" if number % 2 else None,
            "batch": batch,
            "outcome": "failed" if batch <= 50 or number == 7 else "loaded",
            "recorded_at": START + timedelta(minutes=batch),
        }
        for batch in range(1, 101)
        for number in range(100)
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    record_rows(identity.ledger_uri, table, app_id=identity.ledger_app_id, number=100)
    return Ledger(identity)


@pytest.mark.parametrize(
    "condition", ["true", "outcome = 'failed'", "batch = 80", "batch = 20", "uri = '/raw/03/07.json'", "false"]
)
@pytest.mark.parametrize("limit", [1, 60, None])
def test_the_rows_that_count_are_those_of_the_whole_ledger(ledger, condition, limit):
    whole = latest(ledger.rows())
    keys = {(row["uri"], row["batch"]) for row in ledger.rows(condition).to_pylist()}
    expected = [row for row in whole.to_pylist() if (row["uri"], row["batch"]) in keys]
    expected.sort(key=lambda row: (-row["batch"], row["uri"]))
    assert ledger.current(condition, limit=limit).to_pylist() == expected[:limit]


def test_a_limit_bounds_what_is_held(ledger, monkeypatch):
    """Also where the newest rows that match were all replaced."""
    plain, held = ledger_module.query, []

    def counted(handle, sql):
        held.append(plain(handle, sql).num_rows)
        return plain(handle, sql)

    monkeypatch.setattr(ledger_module, "_PAGE", 10)
    monkeypatch.setattr(ledger_module, "query", counted)
    assert ledger.current(limit=5).num_rows == 5
    assert max(held) <= 2 * 30
    held.clear()
    assert ledger.current("outcome = 'failed'", limit=5).num_rows == 5
    assert max(held) <= 2 * 30


GLOBS = [
    "*",
    "*/03/*",
    "/raw/0[12]/0?.json",
    "/raw/0[!0-8]/*",
    "*.json",
    "*.jso",
    "raw/*",
    "/raw/1?/9[0-4].json",
    "[",
    "*[*",
]


@pytest.mark.parametrize("glob", GLOBS)
def test_a_glob_chooses_what_the_shell_would(ledger, glob):
    chosen = ledger.current(_condition(uri_glob=glob, batches=None, outcomes=None))["uri"].to_pylist()
    uris = sorted(set(ledger.rows()["uri"].to_pylist()))
    assert sorted(chosen) == [uri for uri in uris if fnmatch.fnmatchcase(uri, glob)]


@pytest.mark.parametrize("name", ["it's.json", "a\\b.json", "a^b.json", "ä\n.json", "[x].json", "a&&b~.json", "a.json"])
@pytest.mark.parametrize("glob", ["*[']s*", "*\\b*", "*[\\^]b*", "*ä\n*", "*/[[]x].json", "*[&]&b[~]*", "*[!.]json"])
def test_a_glob_with_odd_characters_too(tmp_path, name, glob):
    lake = SmallLake(tmp_path)
    uri = lake.put(name, lines({"id": 1}))
    lake.run()
    found = lake.ledger().current(_condition(uri_glob=glob, batches=None, outcomes=None))
    assert found.num_rows == fnmatch.fnmatchcase(str(uri), glob)


def test_a_pattern_that_is_none_is_refused(ledger):
    with pytest.raises(SpecError, match="bad character range z-a"):
        _condition(uri_glob="[z-a]*", batches=None, outcomes=None)


def test_a_summary_keeps_the_newest_batches_and_the_sums_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "KEPT_BATCHES", 2)
    lake = SmallLake(tmp_path, plan={"batch": {"max_objects": 1}})
    for number in range(5):
        lake.put(f"{number}.json", lines({"id": number}))
    summary = lake.run()
    assert [batch.number for batch in summary.batches] == [4, 5]
    assert (summary.earlier_batches, summary.batch_count) == (3, 5)
    assert (summary.rows.written, summary.files) == (5, 5)
    assert summary.bytes_read == sum(path.stat().st_size for path in lake.raw.iterdir())
