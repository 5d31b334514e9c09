"""Refused rows get another chance: what passes moves into the table once and leaves quarantine, the rest stays."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from lakeray.delta.table import require_table
from lakeray.delta.upkeep import restore
from lakeray.errors import ExactlyOnceError, ImportFailed
from lakeray.importer.loop import ImportLoop
from lakeray.importer.manifest import Manifest, load_manifest, manifest_uri
from lakeray.importer.quarantine.reprocess import Choice
from lakeray.objects import open_store
from tests.unit.importer.small_lake import SmallLake, balance, lines

HINTS = {"id": "int64", "at": "timestamp", "amount": "decimal(12,2)", "tags": "list<string>"}
SMALL = {"sql": "id < 100", "on_violation": "quarantine"}
LARGE = {"sql": "id < 1000", "on_violation": "quarantine"}


def reprocess(lake, **choice):
    loop = ImportLoop(lake.context())
    loop.reprocess(Choice(**choice))
    return loop.tally.summary()


@pytest.fixture
def lake(tmp_path):
    """Two objects; three rows are above the first rule, one of them above the second."""
    lake = SmallLake(tmp_path, source={"schema_hints": HINTS}, step={"expect": {"small": SMALL}})
    row = {"at": "2024-05-01T10:00:00.123456", "amount": "12.30", "tags": ["a", "b"]}
    lake.put("a.json", lines({"id": 1, **row}, {"id": 500, **row}, {"id": 5000, **row}))
    lake.put("b.json", lines({"id": 2, **row}, {"id": 600, **row}))
    assert balance(lake.run()) == {"read": 5, "written": 2, "quarantined": 3}
    return lake


def loosen(lake):
    lake.step = {"expect": {"small": LARGE}}


def test_what_the_corrected_rule_accepts_moves_and_the_rest_stays(lake):
    loosen(lake)
    summary = reprocess(lake)
    assert balance(summary) == {"read": 3, "written": 2, "quarantined": 1}
    assert sorted(lake.rows("id")) == [1, 2, 500, 600]
    assert len({json.dumps(found, default=str) for found in lake.rows("at", "amount", "tags")}) == 1, "types are back"
    (left,) = lake.quarantined()
    assert (left["row"], left["batch"], left["rule"]) == (3, 2, "expect:small")
    assert "id < 1000" in left["reason"]
    assert balance(reprocess(lake)) == {"read": 1, "quarantined": 1}
    assert lake.count() == 4
    assert lake.outcomes() == {"a.json": "partly_loaded", "b.json": "loaded"}
    assert balance(lake.run()) == {}, "the objects are not read again"
    assert not lake.stray_files() - {f for f in lake.stray_files() if "quarantine" in f}


def test_the_manifest_names_the_rows_and_cannot_be_taken_for_one_of_objects(lake):
    loosen(lake)
    reprocess(lake, rule="small")
    identity = lake.ledger().identity
    manifest = load_manifest(identity, 2)
    assert manifest is not None
    assert manifest.kind == "reprocess"
    named = manifest.extra["reprocess"]
    assert named["uri"] == lake.quarantine_uri
    assert "expect:small" in named["where"]
    raw = json.loads(open_store(lake.table_uri).read(manifest_uri(identity, 2)))
    assert raw["format"] == 2
    again = Manifest.from_bytes(json.dumps(raw).encode(), uri="x")
    assert again == manifest
    with pytest.raises(ExactlyOnceError, match="newer version"):
        Manifest.from_bytes(json.dumps({**raw, "format": 3}).encode(), uri="x")


@pytest.mark.parametrize(
    ("choice", "moved"),
    [
        ({"rule": "small"}, [500, 600]),
        ({"rule": "expect:small"}, [500, 600]),
        ({"rule": "other"}, []),
        ({"batch": 1}, [500, 600]),
        ({"batch": 9}, []),
        ({"object_glob": "*/b.json"}, [600]),
        ({"object_glob": "*/none*"}, []),
        ({"since": datetime(2024, 5, 1, tzinfo=UTC)}, [500, 600]),
        ({"before": datetime(2024, 5, 1, tzinfo=UTC)}, []),
    ],
)
def test_rows_are_chosen_by_rule_batch_object_and_time(lake, choice, moved):
    loosen(lake)
    reprocess(lake, **choice)
    assert sorted(lake.rows("id")) == [1, 2, *moved]
    assert len(lake.quarantined()) == 3 - len(moved)


def test_what_was_refused_meanwhile_is_not_touched(lake):
    """A row refused by a later batch has a higher number than the rows that leave."""
    loosen(lake)
    loop = ImportLoop(lake.context())
    lake.put("c.json", lines({"id": 7000}))
    lake.run()
    loop.reprocess(Choice(batch=1))
    assert sorted(found["batch"] for found in lake.quarantined()) == [2, 3]


def test_a_large_choice_is_taken_in_batches(lake):
    loosen(lake)
    lake.plan = {"batch": {"max_objects": 1}}
    summary = reprocess(lake)
    assert len(summary.batches) == 2
    assert sorted(lake.rows("id")) == [1, 2, 500, 600]


def test_a_malformed_record_is_read_again_from_its_bytes(tmp_path):
    """The object is not asked: it may be gone."""
    lake = SmallLake(tmp_path, source={"schema_hints": {"id": "int64"}, "max_record_bytes": 64})
    path = lake.put("a.json", lines({"id": 1}, {"id": 2, "text": "x" * 100}, b"{broken"))
    assert balance(lake.run()) == {"read": 3, "written": 1, "quarantined": 2}
    path.unlink()
    lake.source["max_record_bytes"] = 1000
    assert balance(reprocess(lake)) == {"read": 2, "written": 1, "quarantined": 1}
    assert sorted(lake.rows("id")) == [1, 2]
    assert [(found["row"], found["line"], found["rule"]) for found in lake.quarantined()] == [(3, 3, "malformed")]


def test_a_csv_record_is_read_again_from_the_object_whose_header_names_its_columns(tmp_path):
    lake = SmallLake(tmp_path, source={"format": "csv"}, step={"expect": {"small": SMALL}})
    lake.put("a.csv", b"id,name\n1,x\n2\n500,y\n")
    assert balance(lake.run()) == {"read": 3, "written": 1, "quarantined": 2}
    loosen(lake)
    assert balance(reprocess(lake)) == {"read": 2, "written": 1, "quarantined": 1}
    assert sorted(lake.rows("name")) == ["x", "y"]


def test_what_had_been_rescued_gets_its_chance_too(tmp_path):
    lake = SmallLake(
        tmp_path, source={"schema_hints": {"id": "int64", "n": "int64"}}, step={"expect": {"small": SMALL}}
    )
    lake.put("a.json", lines({"id": 500, "n": "12 apples"}, {"id": 1, "n": 1}))
    lake.run()
    loosen(lake)
    assert reprocess(lake).rows.rescued == 1
    assert sorted(lake.rows("id")) == [1, 500]
    found = [text for text in lake.rows("_rescued_data") if text]
    assert [json.loads(text) for text in found] == [{"n": "12 apples"}]


def masked(tmp_path):
    step = {"expect": {"small": SMALL}, "mask": {"email": {"hmac_sha256": "env:KEY"}}}
    lake = SmallLake(tmp_path, step=step, keys={"env:KEY": b"k" * 32})
    lake.put("a.json", lines({"id": 1, "email": "a@x"}, {"id": 500, "email": "b@x"}, b'{"id": 9, "email": "c@x'))
    lake.run()
    lake.step = {**step, "expect": {"small": LARGE}}
    return lake


def test_rows_that_quarantine_holds_masked_are_read_from_the_object(tmp_path):
    lake = masked(tmp_path)
    assert balance(reprocess(lake)) == {"read": 2, "written": 1, "quarantined": 1}
    digests = lake.rows("email")
    assert len(set(digests)) == 2
    assert all(len(text) == 64 for text in digests), "masked once, not twice"
    assert "c@x" not in str(lake.quarantined())


def test_rows_that_can_be_read_nowhere_any_more_stay_and_it_is_said(tmp_path):
    lake = masked(tmp_path)
    before = lake.quarantined("row", "rule", "reason", "record")
    (lake.raw / "a.json").unlink()
    summary = reprocess(lake)
    assert balance(summary) == {"read": 2, "quarantined": 2}
    assert sorted(lake.quarantined("row", "rule", "reason", "record"), key=str) == sorted(before, key=str)
    assert "stay in quarantine" in summary.problems[0].error
    assert lake.outcomes() == {"a.json": "partly_loaded"}, "never one that would be read whole again"


def test_a_mask_that_was_taken_away_brings_the_values_back_and_a_new_one_hides_them(tmp_path):
    lake = masked(tmp_path)
    lake.step = {"expect": {"small": LARGE}}
    reprocess(lake)
    assert sorted(lake.rows("email"))[1] == "b@x"
    other = SmallLake(tmp_path / "other", step={"expect": {"small": SMALL}})
    path = other.put("a.json", lines({"id": 500, "email": "b@x"}, {"id": 1, "email": "a@x"}))
    other.run()
    path.unlink()
    other.step = {"expect": {"small": LARGE}, "mask": {"email": {"redact": "-"}}}
    assert balance(reprocess(other)) == {"read": 1, "written": 1}
    assert sorted(other.rows("email")) == ["-", "a@x"]


def test_what_a_sources_batch_is_like_is_not_asked_of_a_handful_of_rows(lake):
    loosen(lake)
    lake.step["expect_set"] = {
        "many": {"row_count": {"min": 1000}, "on_violation": "fail"},
        "known": {"range": {"column": "id", "max": 550}, "on_violation": "warn"},
    }
    summary = reprocess(lake)
    assert {name: found.violated for name, found in summary.set_expectations.items()} == {"known": 1}
    assert sorted(lake.rows("id")) == [1, 2, 500, 600]


def test_rows_refused_by_a_set_expectation_are_read_from_the_object(tmp_path):
    rule = {"unique": ["id"], "against": "table", "on_violation": "quarantine"}
    lake = SmallLake(tmp_path, step={"expect_set": {"one": rule}, "select": {"twice": "2 * id"}})
    lake.put("a.json", lines({"id": 1}, {"id": 1}))
    lake.run()
    assert balance(reprocess(lake)) == {"read": 1, "quarantined": 1}
    lake.step = {"select": {"twice": "2 * id"}}
    assert balance(reprocess(lake)) == {"read": 1, "written": 1}
    assert sorted(lake.rows("twice")) == [2, 2]
    assert lake.quarantined() == []


def test_a_hook_sees_a_row_once(tmp_path):
    lake = SmallLake(
        tmp_path, step={"expect": {"small": SMALL}, "apply": "tests.unit.importer.test_reprocess:plus_one"}
    )
    lake.put("a.json", lines({"id": 1}, {"id": 500}))
    lake.run()
    lake.step["expect"] = {"small": LARGE}
    reprocess(lake)
    assert sorted(lake.rows("id")) == [2, 501]


def plus_one(table):
    import pyarrow.compute as pc

    return table.set_column(table.schema.get_field_index("id"), "id", pc.add(table["id"], 1))


def test_abandoning_the_batch_leaves_rows_and_ledger_as_they_were(lake):
    from lakeray.importer.recording.amend import LedgerOf

    loosen(lake)
    lake.step["expect"]["never"] = {"sql": "id < 0", "on_violation": "fail"}
    with pytest.raises(Exception, match="never"):
        reprocess(lake)
    assert LedgerOf(lake.context()).abandon() == 2
    assert lake.outcomes() == {"a.json": "partly_loaded", "b.json": "partly_loaded"}
    assert len(lake.quarantined()) == 3
    loosen(lake)
    reprocess(lake)
    assert sorted(lake.rows("id")) == [1, 2, 500, 600]


def test_overwrite_is_refused(lake):
    lake.plan = {"mode": "overwrite"}
    with pytest.raises(ImportFailed, match="cannot be reprocessed"):
        reprocess(lake)


def test_a_quarantine_of_an_earlier_version_gets_its_new_column(lake, monkeypatch):
    import pyarrow as pa

    from lakeray.importer.quarantine import table as quarantine

    old = pa.schema([item for item in quarantine.SCHEMA if item.name != "masked"])
    other = SmallLake(lake.folder / "old", step=lake.step)
    monkeypatch.setattr(quarantine, "SCHEMA", old)
    other.put("a.json", lines({"id": 500}))
    other.run()
    assert "masked" not in require_table(other.quarantine_uri).schema.names
    monkeypatch.undo()
    other.step = {"expect": {"small": {"sql": "id < 0", "on_violation": "quarantine"}}}
    assert balance(reprocess(other)) == {"read": 1, "quarantined": 1}
    assert require_table(other.quarantine_uri).schema.names[-1] == "masked"


@pytest.mark.parametrize("target", ["before the reprocessing", "before everything"])
def test_a_restore_that_took_reprocessed_rows_away_brings_them_back_once(lake, target):
    """Restored to before the reprocessing, its rows come again from the quarantine's old version; restored to before
    their objects, these come again whole, and nothing twice. What is refused is in quarantine once.
    """
    loosen(lake)
    reprocess(lake)
    rows, refused = sorted(lake.rows("id")), lake.quarantined("row", "rule", "object_uri")
    versions = require_table(lake.table_uri).version
    restore(lake.table_uri, versions - 1 if target == "before the reprocessing" else 0)
    assert sorted(lake.rows("id")) != rows
    lake.plan = {"on_restore": "reimport"}
    summary = lake.run()
    assert [batch.replays for batch in summary.batches] == [2 if target == "before the reprocessing" else 1]
    assert sorted(lake.rows("id")) == rows
    assert lake.quarantined("row", "rule", "object_uri") == refused
    assert balance(lake.run()) == {}
