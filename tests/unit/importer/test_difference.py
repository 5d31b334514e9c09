"""A listing and a ledger are compared exactly, wherever the windows' borders fall."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.importer.discovery import difference as module
from lakeray.importer.discovery.difference import difference
from lakeray.importer.recording.ledger import SCHEMA, windows
from lakeray.objects import LISTING

AT = datetime(2024, 1, 1, tzinfo=UTC)
OUTCOMES = ("loaded", "partly_loaded", "failed", "poison", "superseded", "skipped", "reset")
FINAL = {"loaded", "partly_loaded", "poison", "skipped"}
LOADED = {"loaded", "partly_loaded"}
Version = tuple[str, int, str | None]


class RowsInMemory:
    """What `difference` asks of a ledger, over a list of rows."""

    def __init__(self, rows: list[dict]) -> None:
        self.table = pa.Table.from_pylist(rows, schema=SCHEMA)
        self.scans: list[tuple[str | None, str | None]] = []

    def scan(self, *, after: str | None, up_to: str | None, columns: tuple[str, ...]) -> pa.Table:
        self.scans.append((after, up_to))
        rows = [
            row
            for row in self.table.to_pylist()
            if (after is None or row["uri"] > after) and (up_to is None or row["uri"] <= up_to)
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMA).select(list(columns))


def entry(version: Version, batch: int, outcome: str, *, tries: int = 0, second: int = 0) -> dict:
    uri, size, etag = version
    return {
        "uri": uri,
        "size": size,
        "etag": etag,
        "batch": batch,
        "outcome": outcome,
        "tries": tries,
        "recorded_at": AT + timedelta(seconds=second),
    }


def pages(versions: list[Version], size: int = 2) -> Iterator[pa.RecordBatch]:
    rows = [
        {"uri": uri, "size": length, "etag": etag, "modified_at": AT}
        for uri, length, etag in sorted(versions, key=lambda v: v[0])
    ]
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], schema=LISTING)


def found(listed: list[Version], rows: list[dict], prefix: str = "/raw/") -> dict:
    windows_found = list(difference(pages(listed), RowsInMemory(rows), prefix=prefix))
    fresh = [row for window in windows_found for row in window.fresh.to_pylist()]
    total = {
        name: sum(getattr(window, name) for window in windows_found)
        for name in ("listed", "known", "changed", "deleted")
    }
    return {"fresh": {(row["uri"], row["size"], row["etag"]): (row["tries"], row["changed"]) for row in fresh}, **total}


A, B, C = ("/raw/a", 1, "e1"), ("/raw/b", 1, "e1"), ("/raw/c", 1, "e1")
A2 = ("/raw/a", 1, "e2")


def test_without_a_ledger_everything_is_fresh():
    (window,) = list(difference(pages([A, B, C]), None, prefix="/raw/"))
    assert (window.listed, window.known, window.deleted, window.fresh.num_rows) == (3, 0, 0, 3)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_an_outcome_means_for_the_same_version(outcome):
    seen = found([A], [entry(A, 1, outcome, tries=2)])
    if outcome in FINAL:
        assert (seen["fresh"], seen["known"]) == ({}, 1)
    else:
        assert seen["fresh"] == {A: (2 if outcome == "failed" else 0, False)}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_another_version_is_changed_only_when_one_was_loaded(outcome):
    seen = found([A2], [entry(A, 1, outcome)])
    assert seen["fresh"] == {A2: (0, outcome in LOADED)}
    assert seen["changed"] == (outcome in LOADED)
    assert seen["deleted"] == 0, "the uri is still listed"


@pytest.mark.parametrize("other", [("/raw/a", 2, "e1"), ("/raw/a", 1, None), ("/raw/a", 1, "e2")])
def test_size_and_etag_are_part_of_the_identity(other):
    assert list(found([other], [entry(A, 1, "loaded")])["fresh"]) == [other]


def test_the_newest_row_of_a_version_counts():
    rows = [entry(A, 1, "failed", tries=1), entry(A, 2, "loaded"), entry(A, 2, "reset", second=9)]
    assert found([A], rows)["fresh"] == {A: (0, False)}
    assert found([A], [*rows, entry(A, 3, "loaded")])["fresh"] == {}


def test_a_reset_of_a_changed_version_brings_it_in_without_a_policy():
    rows = [entry(A, 1, "loaded"), entry(A2, 2, "skipped"), entry(A2, 2, "reset", second=1)]
    assert found([A2], rows)["fresh"] == {A2: (0, False)}


def test_deleted_counts_loaded_uris_that_are_not_listed():
    rows = [entry(A, 1, "loaded"), entry(A2, 2, "loaded"), entry(B, 1, "failed", tries=1), entry(C, 1, "partly_loaded")]
    assert found([], rows)["deleted"] == 2
    assert found([B], rows)["deleted"] == 2
    assert found([A2, C], rows)["deleted"] == 0


def test_what_lies_outside_the_prefix_is_not_deleted():
    assert found([], [entry(("/other/a", 1, "e"), 1, "loaded")])["deleted"] == 0


def test_only_a_stretch_of_the_ledger_is_held(monkeypatch):
    monkeypatch.setattr(module, "WINDOW_ROWS", 2)
    ledger = RowsInMemory([entry((f"/raw/{n}", 1, "e"), 1, "loaded") for n in range(6)])
    list(difference(pages([(f"/raw/{n}", 1, "e") for n in range(6)]), ledger, prefix="/raw/"))
    assert ledger.scans == [(None, "/raw/1"), ("/raw/1", "/raw/3"), ("/raw/3", None)]


def test_windows_are_gathered_from_pages():
    sizes = [table.num_rows for table in windows(pages([(f"/raw/{n}", 1, "e") for n in range(7)]), rows=3)]
    assert sizes == [4, 3]


uris = st.sampled_from([f"/raw/{name}" for name in ("", "a", "a\x1f", "a'b", "a/", "aa", "b", "ä", "z", "\U0001f600")])
versions = st.tuples(uris, st.integers(0, 1), st.sampled_from([None, "", "e1"]))


@given(
    listed=st.lists(versions, unique_by=lambda version: version[0], max_size=8),
    history=st.lists(st.tuples(versions, st.sampled_from(OUTCOMES), st.integers(0, 3)), max_size=14),
    window=st.integers(1, 5),
)
def test_equal_to_a_dictionary(listed, history, window):
    listed.sort(key=lambda version: version[0].encode())
    rows = [
        entry(version, batch, outcome, tries=tries, second=batch)
        for batch, (version, outcome, tries) in enumerate(history, 1)
    ]
    last = {version: (outcome, tries) for version, outcome, tries in history}
    loaded = {version[0] for version, (outcome, _) in last.items() if outcome in LOADED}
    expected = {}
    for version in listed:
        outcome, tries = last.get(version, (None, 0))
        if outcome not in FINAL:
            expected[version] = (tries if outcome == "failed" else 0, outcome is None and version[0] in loaded)
    before, module.WINDOW_ROWS = module.WINDOW_ROWS, window
    try:
        seen = found(listed, rows)
    finally:
        module.WINDOW_ROWS = before
    assert seen["fresh"] == expected
    assert seen["listed"] == len(listed)
    assert seen["known"] == len(listed) - len(expected)
    assert seen["changed"] == sum(changed for _, changed in expected.values())
    assert seen["deleted"] == len(loaded - {version[0] for version in listed})
