"""A cleansing rule changes what it says, counts it, refuses what does not fit, and leaves the rest alone."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from lakeray.errors import TransformError
from lakeray.spec.steps import Step
from lakeray.transform.cleanse.column import Count
from lakeray.transform.cleanse.table import Cleansing
from lakeray.transform.rules import RESCUED


def cleansing(spec, **options):
    step = Step.model_validate({"import": {"from": "a", "into": "b"}, "cleanse": spec})
    return Cleansing(step.cleanse, **options)


def clean(values, *rules, kind=None, times=1):
    """One column's values after ``rules``, which rows were refused, and the counts by rule."""
    table = pa.table({"x": pa.array(values, kind or pa.string())})
    table = pa.concat_tables([table] * times).combine_chunks()
    done = cleansing({"x": list(rules)}).run(table)
    refused = [False] * len(table)
    for refusal in done.refused:
        refused = [one or other for one, other in zip(refused, refusal.rows.to_pylist(), strict=True)]
    return done.table["x"].to_pylist(), refused, done.counts.get("x", {})


ONE_TO_ONE = [
    ({"trim": "ends"}, " a  b\u00a0", "a  b"),
    ({"trim": "all"}, "\u2003a \t\n b\u00a0c ", "a b c"),
    ({"case": "upper"}, "straße é", "STRAẞE É"),
    ({"case": "lower"}, "ÉA", "éa"),
    ({"case": "title"}, "new yORK", "New York"),
    ({"unicode": "NFC"}, "e\u0301\u200b\ufeffx\x07", "éx"),
    ({"unicode": "NFC"}, "a\tb\nﬁ", "a\tb\nﬁ"),
    ({"unicode": "NFKC"}, "ﬁ１２", "fi12"),
    ({"nulls": ["N/A", "-"]}, "N/A", None),
    ({"nulls": ["N/A", "-"]}, "n/a", "n/a"),
    ({"enum": {"new": ["neu", "Nouveau"]}}, "NEU", "new"),
    ({"enum": {"new": ["neu"]}}, "New", "new"),
    ({"enum": {"new": ["neu"]}}, "nue", "nue"),
    ({"enum": {"new": ["neu"]}, "unknown": "null"}, "nue", None),
    ({"replace": {"pattern": "[- ]", "with": ""}}, "01-23 4", "01234"),
    ({"replace": {"pattern": "^(\\d)x", "with": "\\1"}}, "1xx", "1"),
    ({"number": {"decimal": ",", "thousands": "."}}, "1.234,5", 1234.5),
    ({"number": {"thousands": " "}}, "1\u202f234", 1234.0),
    ({"number": {"currency": ["€", "EUR"], "type": "decimal(9, 2)"}}, "€ 3.50", Decimal("3.50")),
    ({"number": {"currency": ["€", "EUR"]}}, "-3.50 EUR", -3.5),
    ({"number": {"percent": True}}, "12.5 %", 0.125),
    ({"number": {"unfit": "null"}}, "many", None),
    ({"date": {"formats": ["%d.%m.%Y", "%Y-%m-%d"]}}, "2024-02-01", dt.date(2024, 2, 1)),
    ({"date": {"formats": ["%d/%m/%Y", "%m/%d/%Y"]}}, "13/02/2024", dt.date(2024, 2, 13)),
    ({"date": {"formats": ["%d/%m/%Y", "%m/%d/%Y"]}}, "02/13/2024", dt.date(2024, 2, 13)),
    ({"date": {"formats": ["%d/%m/%Y", "%m/%d/%Y"]}}, "02/02/2024", dt.date(2024, 2, 2)),
    ({"date": {"formats": ["%d/%m/%Y", "%m/%d/%Y"], "ambiguous": "first"}}, "01/02/2024", dt.date(2024, 2, 1)),
    ({"unit": {"to": "kg", "from": {"g": 0.001, "lb": 0.45359237}}}, "500 g", 0.5),
    ({"unit": {"to": "kg", "from": {"g": 0.001}, "decimal": ","}}, "1,5kg", 1.5),
    ({"unit": {"to": "kg", "bare": "kg"}}, "3", 3.0),
    ({"unit": {"to": "m", "from": {"m²": 2, "mm": 0.001}}}, "2000 mm", 2.0),
    ({"boolean": {"yes": ["ja"], "no": ["nein"]}}, "JA", True),
    ({"boolean": {}}, "0", False),
]


@pytest.mark.parametrize(("rule", "value", "expected"), ONE_TO_ONE)
@pytest.mark.parametrize("times", [1, 3_000])
def test_a_rule_does_what_it_says(rule, value, expected, times):
    """Whether values are looked at one by one, or once each because they come often."""
    found, refused, counts = clean([value, None], rule, times=times)
    assert found == [expected, None] * times
    assert not any(refused)
    [count] = counts.values()
    assert count.looked_at == times
    assert count.refused == 0


REFUSED = [
    ({"enum": {"new": ["neu"]}, "unknown": "quarantine"}, "nue"),
    ({"replace": {"pattern": "a", "with": "aa"}}, "a"),
    ({"number": {}}, "1,5"),
    ({"number": {"currency": ["€"]}}, "€3€"),
    ({"number": {"type": "int8"}}, "300"),
    ({"date": {"formats": ["%d.%m.%Y"]}}, "31.02.2024"),
    ({"date": {"formats": ["%d/%m/%Y", "%m/%d/%Y"]}}, "01/02/2024"),
    (
        {"date": {"type": "timestamp", "formats": ["%Y-%m-%d %H:%M:%S"], "timezone": "America/New_York"}},
        "9999-12-31 23:59:59",
    ),
    (
        {"date": {"type": "timestamp", "formats": ["%Y-%m-%d %H:%M:%S"], "timezone": "Europe/Berlin"}},
        "0001-01-01 00:00:00",
    ),
    ({"date": {"type": "timestamp", "formats": ["%Y-%m-%d %H:%M:%S%z"]}}, "9999-12-31 23:59:59-01:00"),
    ({"unit": {"to": "kg", "from": {"g": 0.001}}}, "3"),
    ({"unit": {"to": "kg", "from": {"g": 0.001}}}, "3 G"),
    ({"boolean": {}}, "maybe"),
    ({"outlier": {"between": [0, 9]}}, 10),
]


@pytest.mark.parametrize(("rule", "value"), REFUSED)
@pytest.mark.parametrize("times", [1, 3_000])
def test_what_does_not_fit_is_refused_and_never_a_silent_null(rule, value, times):
    kind = pa.int64() if isinstance(value, int) else pa.string()
    _, refused, counts = clean([value, None], rule, times=times, kind=kind)
    assert refused == [True, False] * times
    [(label, count)] = counts.items()
    assert label == next(iter(rule))
    assert (count.looked_at, count.changed, count.refused) == (times, 0, times)


@pytest.mark.parametrize(
    ("action", "expected", "changed", "refused"),
    [("null", [None, 0, 9, None], 2, 0), ("clip", [0, 0, 9, 9], 2, 0), ("quarantine", [None, 0, 9, None], 0, 2)],
)
def test_outliers(action, expected, changed, refused):
    for kind in (pa.int64(), pa.float64(), pa.decimal128(9, 2)):
        values, _, counts = clean([-1, 0, 9, 10], {"outlier": {"between": [-0.5, 9], "action": action}}, kind=kind)
        assert [None if value is None else float(value) for value in values] == [
            None if value is None else (-0.5 if kind != pa.int64() and action == "clip" and place == 0 else value)
            for place, value in enumerate(expected)
        ]
        assert counts["outlier"] == Count(looked_at=4, changed=changed, refused=refused)


def test_flagged_outliers_stay_and_a_column_says_so():
    table = pa.table({"x": [1.0, 50.0, None]})
    done = cleansing({"x": [{"outlier": {"between": [None, 9], "action": "flag"}}]}).run(table)
    assert done.table.to_pydict() == {"x": [1.0, 50.0, None], "x_is_outlier": [False, True, None]}


def test_rules_go_in_their_order_and_are_counted_one_by_one():
    rules = [
        {"trim": "all"},
        {"case": "lower"},
        {"nulls": ["n/a"]},
        {"enum": {"new": ["neu"]}, "unknown": "quarantine"},
    ]
    values, refused, counts = clean([" NEU", "N/A ", "new", "x", None], *rules)
    assert values == ["new", None, "new", None, None]
    assert refused == [False, False, False, True, False]
    assert counts == {
        "trim": Count(looked_at=4, changed=2),
        "case": Count(looked_at=4, changed=2),
        "nulls": Count(looked_at=4, changed=1),
        "enum": Count(looked_at=3, changed=1, refused=1),
    }


def test_rules_that_undo_each_other_are_refused():
    rules = [{"case": "upper"}, {"replace": {"pattern": "^A", "with": "b"}}]
    assert clean(["a", "x"], *rules)[0] == ["B", "X"], "once more upper case, then at rest"
    swap = [{"replace": {"pattern": "^a$", "with": "bb"}}, {"replace": {"pattern": "^bb$", "with": "a"}}]
    assert clean(["a"], *swap)[0] == ["a"], "the first state is at rest"


def test_selectors_choose_columns_by_name_and_type_and_leave_the_rest_alone():
    table = pa.table({"a": [" x "], "b": [" y "], "n": [1], RESCUED: [' {"z": 1} ']})
    done = cleansing({"*": [{"trim": "ends"}], "type:string": [{"case": "upper"}], "b": [{"nulls": ["Y"]}]}).run(table)
    assert done.table.to_pylist() == [{"a": "X", "b": None, "n": 1, RESCUED: ' {"z": 1} '}]
    assert {name: list(rules) for name, rules in done.counts.items()} == {
        "a": ["trim", "case"],
        "b": ["trim", "case", "nulls"],
    }


def test_a_misspelt_column_is_an_error():
    with pytest.raises(TransformError, match=r"cleanse\.statsu") as caught:
        cleansing({"statsu": [{"trim": "ends"}]}).run(pa.table({"status": ["a"]}))
    assert "did you mean status?" in (caught.value.hint or "")


def test_no_reason_shows_a_value():
    for rule, value in REFUSED:
        kind = pa.int64() if isinstance(value, int) else pa.string()
        table = pa.table({"x": pa.array([value], kind)})
        for refusal in cleansing({"x": [rule]}).run(table).refused:
            assert refusal.rule == "cleanse:x"
            assert str(value) not in refusal.reason or len(str(value)) < 3


def test_an_empty_chunk_has_the_same_columns():
    table = pa.table({"x": ["1,5"], "d": ["1.2.2024"]})
    made = cleansing({"x": [{"number": {"decimal": ","}}], "d": [{"date": {"formats": ["%d.%m.%Y"]}}]})
    assert made.run(table.schema.empty_table()).table.schema == made.run(table).table.schema
