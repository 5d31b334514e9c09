"""Expectations, hooks, masks and the batch's clock, through whole imports."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import lakeray
from lakeray.config import Settings
from lakeray.errors import ExpectationFailed, LakerayError
from tests.unit.importer.small_lake import SmallLake, balance, lines

SECRET = "carol@example.com"
KEY = b"a-key-of-the-tests"


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path)


def digest(value: str) -> str:
    return hmac.new(KEY, value.encode(), hashlib.sha256).hexdigest()


def expectation(sql, violation):
    return {"expect": {"rule": {"sql": sql, "on_violation": violation}}}


@pytest.mark.parametrize(
    ("violation", "terms"),
    [
        ("warn", {"read": 4, "written": 4}),
        ("drop", {"read": 4, "written": 2, "dropped": 2}),
        ("quarantine", {"read": 4, "written": 2, "quarantined": 2}),
    ],
)
def test_expectations(lake, violation, terms):
    lake.step = expectation("id < 3", violation)
    lake.put("a.json", lines({"id": 1}, {"id": 3}, {"id": None}, {"id": 2}))
    summary = lake.run()
    assert balance(summary) == terms
    found = summary.expectations["rule"]
    assert (found.on_violation, found.checked, found.violated) == (violation, 4, 2)
    rules = [(row["row"], row["rule"]) for row in lake.quarantined()]
    assert sorted(rules) == ([(2, "expect:rule"), (3, "expect:rule")] if violation == "quarantine" else [])


def test_an_expectation_that_fails_commits_nothing_and_can_be_corrected(lake):
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.step = expectation("id < 3", "fail")
    lake.put("b.json", lines({"id": 2}, {"id": 3}))
    for _ in range(2):
        with pytest.raises(ExpectationFailed, match="'rule' is violated by 1 row"):
            lake.run()
        assert lake.rows("id") == [1]
        assert lake.outcomes() == {"a.json": "loaded"}
    lake.step = expectation("id < 4", "fail")
    lake.run()
    assert sorted(lake.rows("id")) == [1, 2, 3]
    assert lake.entry("b.json")["batch"] == 2, "the planned batch was finished"


def test_filtered_rows_are_not_checked(lake):
    lake.step = {"where": "id > 1", **expectation("id < 3", "drop")}
    lake.put("a.json", lines({"id": 1}, {"id": 2}, {"id": 3}, {"id": None}))
    summary = lake.run()
    assert balance(summary) == {"read": 4, "written": 1, "dropped": 1, "filtered": 2}
    assert summary.expectations["rule"].checked == 2


def test_every_object_balances_in_the_ledger(lake):
    lake.step = {"where": "id <> 5", **expectation("id < 8", "drop")}
    for name in range(3):
        lake.put(f"{name}.json", lines(*({"id": n} for n in range(10)), b"{"))
    lake.run()
    for row in lake.ledger_rows().to_pylist():
        terms = {key.removeprefix("rows_"): value for key, value in row.items() if key.startswith("rows_") and value}
        assert terms == {"read": 11, "written": 7, "quarantined": 1, "dropped": 2, "filtered": 1}


def _half(table: pa.Table) -> pa.Table:
    return table.slice(0, table.num_rows // 2)


def test_a_hook_that_adds_rows(lake):
    lake.step = {"apply": "tests.hooks:twice", **expectation("id < 2", "quarantine")}
    lake.put("a.json", lines({"id": 1}, {"id": 2}, b"bad"))
    summary = lake.run()
    assert balance(summary) == {"read": 3, "generated": 2, "written": 2, "quarantined": 3}
    assert lake.rows("id") == [1, 1]
    by_rule = sorted((row["rule"], row["row"]) for row in lake.quarantined())
    assert by_rule[2] == ("malformed", 3), "what a hook made has no row number in the object any more"
    assert [row for _, row in by_rule[:2]] == [None, None]


def test_a_hook_that_takes_rows_away(lake, monkeypatch):
    monkeypatch.setattr("tests.hooks.half", _half, raising=False)
    lake.step = {"apply": "tests.hooks:half", "where": "id <> 1"}
    lake.put("a.json", lines(*({"id": n} for n in range(1, 7))))
    summary = lake.run()
    assert balance(summary) == {"read": 6, "written": 2, "filtered": 4}


def _broken(table: pa.Table) -> pa.Table:
    raise ValueError(f"I will not have {table.to_pylist()}")


def test_a_hook_that_fails_is_named_without_values(lake, monkeypatch):
    lake.put("0.json", lines({"id": 1, "email": "x"}))
    lake.run()
    monkeypatch.setattr("tests.hooks.broken", _broken, raising=False)
    lake.step = {"apply": "tests.hooks:broken", "mask": {"email": {"redact": True}}}
    lake.put("a.json", lines({"id": 2, "email": SECRET}))
    with pytest.raises(LakerayError, match=r"tests\.hooks:broken raised ValueError") as error:
        lake.run()
    assert SECRET not in str(error.value)
    assert error.value.code == "transform"


def everything_written(lake) -> str:
    """All that an import left, but for the source: rows of both tables, the ledger, manifests and results."""
    stored = [lake.rows(), lake.quarantined(), lake.ledger_rows().to_pylist()]
    files = [path.read_bytes() for path in Path(lake.table_uri, "_lakeray").rglob("*.json")]
    files += [path.read_bytes() for path in Path(lake.table_uri, "_delta_log").rglob("*.json")]
    return repr(stored) + repr(files)


MASKS = {"email": {"hmac_sha256": "env:MASK_KEY"}, "phone": {"redact": "***"}, "ssn": {"redact": True}}


@pytest.mark.parametrize("evolution", ["add_columns", "rescue", "ignore"])
def test_masked_values_are_nowhere(lake, evolution):
    """Not in the table, its statistics, the quarantine, rescued data, ledger, manifests or results."""
    lake.source = {
        "evolution": evolution,
        "schema_hints": {"id": "int64", "email": "string", "phone": "int64", "ssn": "int64"},
    }
    lake.step = {"mask": MASKS, **expectation("id < 10", "quarantine")}
    lake.keys = {"env:MASK_KEY": KEY}
    person = {"email": SECRET, "phone": 5551234, "ssn": 987654}
    lake.put(
        "a.json",
        lines(
            {"id": 1, **person},
            {"id": 11, **person},
            {"id": 2, **person, "phone": SECRET},
            {"id": 3, **person, "ssn": {"nested": SECRET}},
            {"id": "x", **person},
            json.dumps({"id": 4, **person}).encode()[:-1],
        ),
    )
    lake.run()
    text = everything_written(lake)
    for value in (SECRET, "5551234", "987654"):
        assert value not in text
    row = next(row for row in lake.rows() if row["id"] == 1)
    assert (row["email"], row["phone"], row["ssn"]) == (digest(SECRET), "***", None)
    assert json.loads(next(row["record"] for row in lake.quarantined() if row["rule"] == "expect:rule"))[
        "email"
    ] == digest(SECRET)
    assert [row["raw"] for row in lake.quarantined() if row["rule"] == "malformed"] == [None]


def test_raw_bytes_are_kept_where_nothing_is_masked(lake):
    lake.put("a.json", lines({"id": 1}, b"{bad"))
    lake.run()
    assert lake.quarantined("raw") == [b"{bad"]


@pytest.mark.parametrize("evolution", ["add_columns", "rescue", "ignore"])
def test_a_column_that_a_masked_one_is_made_of_is_masked_in_quarantine(lake, evolution):
    lake.source = {"evolution": evolution, "schema_hints": {"id": "int64"}}
    lake.step = {"select": {"email": "lower(address)"}, "mask": {"email": {"redact": True}}}
    lake.put("a.json", lines({"id": 1, "address": "x"}, {"id": "no number", "address": SECRET}))
    lake.run()
    assert SECRET not in repr(lake.quarantined())


def test_a_masked_column_in_another_case_is_masked_where_it_is_rescued(lake):
    lake.step = {"mask": {"email": {"redact": "***"}}}
    lake.put("a.json", lines({"id": 1, "email": "x"}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "EMAIL": SECRET}, b"{"))
    lake.run()
    assert SECRET not in everything_written(lake)
    assert sorted(row["_rescued_data"] or "" for row in lake.rows()) == ["", '{"EMAIL":"***"}']


def test_a_mask_hides_its_column_in_whatever_case_it_is_written(lake):
    lake.step = {"mask": {"email": {"redact": "***"}}, **expectation("id < 2", "quarantine")}
    lake.put("a.json", lines({"id": 1, "Email": SECRET}, {"id": 2, "Email": SECRET}))
    lake.run()
    assert SECRET not in everything_written(lake)


def test_a_mask_without_a_column_is_mentioned(lake):
    lake.step = {"mask": {"emial": {"redact": True}, "email": {"redact": True}}}
    lake.put("a.json", lines({"id": 1, "email": SECRET}))
    notes = lake.run().notes
    assert [note for note in notes if "hides nothing" in note] == [
        "the mask of emial hides nothing: the table has no such column"
    ]


def test_the_mask_key_comes_from_the_environment(lake, monkeypatch):
    monkeypatch.setenv("MASK_KEY", KEY.decode())
    lake.step = {"mask": {"email": MASKS["email"]}}
    lake.put("a.json", lines({"id": 1, "email": SECRET}))
    summary = lakeray.connect(settings=Settings(executor="inline")).run(lake.workflow()).result(timeout=60)
    assert summary.state == "succeeded"
    assert lake.rows("email") == [digest(SECRET)]
    assert KEY.decode() not in summary.model_dump_json()
    assert any("env:MASK_KEY" in line for line in summary.security)


def test_a_missing_mask_key_stops_the_run_before_anything_is_read(lake, monkeypatch):
    monkeypatch.delenv("MASK_KEY", raising=False)
    lake.step = {"mask": {"email": MASKS["email"]}}
    lake.put("a.json", lines({"id": 1, "email": SECRET}))
    summary = lakeray.connect(settings=Settings(executor="inline")).run(lake.workflow()).result(timeout=60)
    assert summary.state == "failed"
    assert "MASK_KEY" in summary.errors[0].message
    assert not Path(lake.table_uri).exists()


def test_errors_of_expressions_quote_no_value(lake):
    lake.step = {"select": {"n": "CAST(email AS INT)"}, "mask": {"email": {"redact": True}}}
    lake.put("a.json", lines({"id": 1, "email": SECRET}))
    lake.run()
    assert SECRET not in everything_written(lake)
    assert [row["rule"] for row in lake.quarantined()] == ["select:n"]


def test_now_is_the_manifests_time_also_when_a_batch_is_finished_later(lake, monkeypatch):
    class Crash(BaseException):
        pass

    def crash(name):
        if name == "after_result":
            raise Crash

    lake.step = {"select": {"at": "now()"}}
    lake.put("a.json", lines({"id": 1}))
    planned = lake.now
    monkeypatch.setattr("lakeray.importer.batch.failpoint", crash)
    with pytest.raises(Crash):
        lake.run()
    monkeypatch.undo()
    lake.now = planned + timedelta(days=3)
    lake.put("b.json", lines({"id": 2}))
    lake.run()
    found = {row["id"]: row["at"].astimezone(UTC) for row in lake.rows()}
    assert found == {1: planned, 2: planned + timedelta(days=3)}
    assert datetime(2024, 5, 1, 12, tzinfo=UTC) == planned
