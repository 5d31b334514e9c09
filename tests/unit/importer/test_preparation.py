"""Mapping and cleansing through whole imports: what does not fit is in quarantine as it was read; all is counted."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from lakeray.delta.table import open_table
from lakeray.errors import TransformError
from lakeray.importer.recording.recovery import last_result
from lakeray.importer.recording.summary import CleansingSummary
from tests.unit.importer.small_lake import SmallLake, balance, lines

KEY = b"a-key-of-the-tests"
HEADER = b"id,placed,amount,price,status\n"


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path, source={"format": "csv"})


DIRTY = {
    "mapping": {"columns": {"day": {"from": "placed", "cast": "date", "format": "%d.%m.%Y"}}},
    "cleanse": {
        "*": [{"trim": "all"}],
        "amount": [{"nulls": ["-"]}],
        "price": [{"number": {"decimal": ",", "thousands": "."}}],
        "status": [{"enum": {"new": ["neu"]}, "unknown": "quarantine"}],
    },
    "expect": {"pos": {"sql": "price > 0", "on_violation": "quarantine"}},
}


def test_rows_are_mapped_then_cleansed_then_expected(lake):
    lake.source["schema_hints"] = {"amount": "decimal(18, 2)"}
    lake.step = DIRTY
    rows = [
        b'1,31.12.2024,1.50,"1.234,5",neu',
        b"2,x,2.00,1,new",
        b"3,01.01.2024,-,0, NEU ",
        b"4,02.01.2024,bad,5,new",
        b"5,02.01.2024,7,5,zz",
    ]
    lake.put("a.csv", HEADER + b"\n".join(rows) + b"\n")
    summary = lake.run()
    assert balance(summary) == {"read": 5, "written": 1, "quarantined": 4}
    assert lake.rows() == [
        {"day": dt.date(2024, 12, 31), "id": 1, "amount": Decimal("1.50"), "price": 1234.5, "status": "new"}
    ]
    refused = {row["row"]: (row["rule"], json.loads(row["record"])) for row in lake.quarantined()}
    assert {row: rule for row, (rule, _) in refused.items()} == {
        2: "mapping:day",
        3: "expect:pos",
        4: "cleanse:amount",
        5: "cleanse:status",
    }
    as_read = {"id": 3, "placed": "01.01.2024", "amount": "-", "price": "0", "status": " NEU ", "_rescued_data": None}
    assert refused[3][1] == as_read, "quarantine shows the row as the source has it"


def test_what_was_changed_is_in_the_result_and_adds_up_over_tasks_and_batches(lake):
    lake.step, lake.slots = DIRTY, 2
    lake.put("a.csv", HEADER + b"1,31.12.2024,1,2,neu\n")
    lake.put("b.csv", HEADER + b"2,31.12.2024,1,2, new \n")
    lake.run()
    lake.put("c.csv", HEADER + b"3,31.12.2024,-,2,zz\n")
    loop_summary = lake.run()
    assert loop_summary.cleansing["status"]["enum"] == CleansingSummary(looked_at=1, changed=0, refused=1)
    handle = open_table(lake.table_uri)
    assert handle is not None
    stored = last_result(lake.context().identity(handle))
    assert stored is not None
    assert stored.cleansing == loop_summary.cleansing
    lake.put("d.csv", HEADER + b"4,31.12.2024,1,2,NEU\n")
    lake.put("e.csv", HEADER + b"5,31.12.2024,1,2,new\n")
    assert lake.run().cleansing["status"] == {
        "trim": CleansingSummary(looked_at=2, changed=0),
        "enum": CleansingSummary(looked_at=2, changed=1),
    }


def test_an_object_that_breaks_in_the_end_leaves_no_counts(lake):
    import gzip

    lake.step = {"cleanse": {"a": [{"trim": "ends"}]}}
    lake.put("good.csv", b"a\n x\n")
    whole = gzip.compress(b"a\n" + b" y\n" * 200_000)
    lake.put("bad.csv.gz", whole[: len(whole) // 2])
    summary = lake.run()
    assert lake.outcomes() == {"good.csv": "loaded", "bad.csv.gz": "failed"}
    assert summary.cleansing == {"a": {"trim": CleansingSummary(looked_at=1, changed=1)}}


def test_later_batches_read_the_same_way_as_the_first(lake):
    """The table's types never make the source be read otherwise: a cleansed column stays text until it is cleansed."""
    lake.step = DIRTY
    for number, price in enumerate([b'"1.234,5"', b"7", b'"2.000,25"'], start=1):
        lake.put(f"{number}.csv", HEADER + b"%d,31.12.2024,1,%b,new\n" % (number, price))
        lake.run()
    assert sorted(lake.rows("price")) == [7.0, 1234.5, 2000.25]


def test_numbers_and_texts_of_json_are_cleansed_alike(lake):
    lake.source["format"] = "json"
    lake.step = {"cleanse": {"price": [{"number": {"decimal": ".", "type": "decimal(9, 2)"}}]}}
    lake.put("a.json", lines({"price": "12.50"}, {"price": 3.5}, {"price": 4}, {"price": None}, {"price": "x"}))
    assert balance(lake.run()) == {"read": 5, "written": 4, "quarantined": 1}
    assert lake.rows("price") == [Decimal("12.50"), Decimal("3.50"), Decimal("4.00"), None]


def test_nested_json_becomes_columns(lake):
    lake.source["format"] = "json"
    lake.step = {
        "mapping": {
            "columns": {"city": "customer.address.city", "first": "items[0].sku", "shop": {"constant": "web"}},
            "rest": "drop",
        }
    }
    lake.put("a.json", lines({"id": 1, "customer": {"address": {"city": "Köln"}}, "items": [{"sku": "a"}]}, {"id": 2}))
    lake.run()
    assert lake.rows() == [
        {"city": "Köln", "first": "a", "shop": "web"},
        {"city": None, "first": None, "shop": "web"},
    ]


def test_columns_that_come_later_go_through_the_rules_for_all(lake):
    lake.source["format"] = "json"
    lake.step = {"cleanse": {"*": [{"trim": "ends"}]}}
    lake.put("a.json", lines({"a": " x "}))
    lake.run()
    lake.put("b.json", lines({"a": "y", "b": " z "}))
    lake.run()
    assert lake.rows("b") == [None, "z"] or lake.rows("b") == ["z", None]


def test_a_column_that_no_sample_shows_is_looked_for_before_it_is_called_missing(lake):
    lake.source["format"] = "json"
    lake.step = {
        "mapping": {"columns": {"city": "customer.city"}},
        "cleanse": {"city": [{"trim": "ends"}], "late": [{"case": "lower"}]},
        "select": {"both": "city || late"},
    }
    lake.put("a.json", lines(*({"customer": {"city": " x"}} for _ in range(6_000)), {"late": "Y", "customer": None}))
    lake.run()
    assert lake.schema() == {"city": "string", "late": "string", "both": "string"}


def test_a_misspelt_column_stops_before_anything_is_made(lake):
    lake.step = {"cleanse": {"statsu": [{"trim": "ends"}]}}
    lake.put("a.csv", HEADER + b"1,31.12.2024,1,2,neu\n")
    with pytest.raises(TransformError, match=r"did you mean status\?"):
        lake.run()


@pytest.mark.parametrize(
    "mapping",
    [
        {"columns": {"email": "customer.email"}},
        {"flatten": {"customer": {"prefix": ""}}},
        {"columns": {"secret": "customer.email"}},
    ],
)
@pytest.mark.parametrize("mask", [{"redact": True}, {"hmac_sha256": "env:K"}])
def test_a_masked_column_hides_what_it_was_mapped_from(lake, mapping, mask):
    """In the table, in quarantine as it was read, in rescued data; whether the mapping or a later rule refuses it."""
    secret = "carol@example.com"
    lake.source["format"], lake.keys = "json", {"env:K": KEY}
    name = next(iter(mapping.get("columns", {"email": 1})))
    lake.step = {
        "mapping": {**mapping, "columns": {**mapping.get("columns", {}), "n": {"from": "m", "cast": "int64"}}},
        "cleanse": {name: [{"case": "lower"}]},
        "expect": {"small": {"sql": "n < 5", "on_violation": "quarantine"}},
        "mask": {name: mask},
    }
    rows = [{"id": i, "m": m, "customer": {"email": secret.upper()}} for i, m in enumerate(["1", "9", "x"])]
    lake.put("a.json", lines(*rows))
    assert balance(lake.run()) == {"read": 3, "written": 1, "quarantined": 2}
    shown = json.dumps([lake.rows(), lake.quarantined()], default=str).lower()
    assert secret not in shown
    if "redact" not in mask:
        assert lake.rows(name) == [hmac.new(KEY, secret.encode(), hashlib.sha256).hexdigest()]


@pytest.mark.parametrize("mapping", [None, {"columns": {"phone": "contact.phone"}}])
def test_a_mask_that_shows_a_part_shows_no_other_part_of_a_value_that_was_not_clean_yet(lake, mapping):
    lake.source["format"] = "json"
    lake.step = {
        **({"mapping": mapping} if mapping else {}),
        "cleanse": {"phone": [{"replace": {"pattern": "[^0-9]", "with": ""}}]},
        "expect": {"long": {"sql": "length(phone) > 6", "on_violation": "quarantine"}},
        "mask": {"phone": {"partial": {"keep_last": 3}}},
    }
    texts = ["0171-4567", "0171 (x)"]
    lake.put("a.json", lines(*({"contact": {"phone": text}} if mapping else {"phone": text} for text in texts)))
    assert balance(lake.run()) == {"read": 2, "written": 1, "quarantined": 1}
    assert lake.rows("phone") == ["*****567"]
    assert json.loads(lake.quarantined("record")[0]) == {"contact" if mapping else "phone": None, "_rescued_data": None}


def test_a_rule_that_is_corrected_finishes_the_batch_that_it_blocked(lake):
    lake.step = {"cleanse": {"price": [{"number": {}}]}, "expect": {"p": {"sql": "price > 0", "on_violation": "fail"}}}
    lake.put("a.csv", b"price\n1\n")
    lake.run()
    lake.put("b.csv", b'price\n"0,5"\n')
    assert balance(lake.run())["quarantined"] == 1
    lake.step["cleanse"] = {"price": [{"number": {"decimal": ","}}]}
    lake.put("c.csv", b'price\n"0,5"\n')
    lake.run()
    assert sorted(lake.rows("price")) == [0.5, 1.0]
    assert lake.schema() == {"price": str(pa.float64())}


@pytest.mark.parametrize("rule", [{"quantiles": [0.01, 0.99]}, {"mad": 5}])
@pytest.mark.parametrize("action", ["quarantine", "clip", "flag"])
def test_bounds_of_the_batch_are_the_same_however_it_is_shared_out(lake, rule, action):
    """What a broken object holds has no part in them; what lies out in one batch may be usual in the next."""
    lake.step = {"cleanse": {"x": [{"number": {"decimal": ","}}, {"outlier": {**rule, "action": action}}]}}
    for part in range(4):
        numbers = [f'"{n + part / 10:.1f}"'.replace(".", ",") for n in range(100, 200)]
        lake.put(f"{part}.csv", "\n".join(["x", *numbers, '"9000,0"' if part == 3 else '"-9000,0"']).encode())
    lake.slots = 4
    found = lake.run().cleansing["x"]["outlier"]
    other = SmallLake(lake.folder / "again", source=lake.source, step=lake.step)
    for part in range(4):
        other.put(f"{part}.csv", (lake.raw / f"{part}.csv").read_bytes())
    assert other.run().cleansing["x"]["outlier"] == found
    assert sorted(map(str, other.rows())) == sorted(map(str, lake.rows()))
    assert found.looked_at == 404
    if action == "clip":
        assert max(lake.rows("x")) < (280 if "mad" in rule else 200)
        assert min(lake.rows("x")) > (-400 if "mad" in rule else 98)
    if action == "flag":
        assert {row["x"] for row in lake.rows() if row["x_is_outlier"]} >= {9000.0}
        assert found.changed == found.refused == 0
