"""Columns come from where the mapping says, in the type it says; what does not fit is refused by name, never null."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from lakeray.errors import TransformError
from lakeray.spec.mapping import Mapped
from lakeray.spec.paths import parse_path, path_text
from lakeray.spec.wrong import WrongValue
from lakeray.transform.mapping import Mapping
from lakeray.transform.rules import OBJECT, RESCUED

ORDERS = pa.table(
    {
        "id": [1, 2, 3],
        "customer": [{"address": {"city": "Köln", "zip": "50667"}, "age": 7}, None, {"address": None, "age": None}],
        "items": [[{"sku": "a"}, {"sku": "b"}], [], None],
        "tags": pa.array([[("k", "v")], None, [("other", "w")]], pa.map_(pa.string(), pa.string())),
        "a.b": [1.5, None, 2.5],
        RESCUED: ['{"x":1}', None, None],
    }
)


def mapped(table=ORDERS, *, columns=None, **spec):
    return Mapping(Mapped.model_validate({"columns": columns or {}, **spec})).run(table)


def column(values, **spec):
    """One text column through one mapped column: its values and the rows refused."""
    table = pa.table({"x": pa.array(values, pa.string())})
    done = mapped(table, columns={"y": {"from": "x", **spec}})
    refused = [refusal.rows.to_pylist() for refusal in done.refused]
    return done.table["y"].to_pylist(), refused[0] if refused else [False] * len(values)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("customer.address.city", ["Köln", None, None]),
        ("customer.age", [7, None, None]),
        ("items[0].sku", ["a", None, None]),
        ("items[1].sku", ["b", None, None]),
        ("items[9]", [None, None, None]),
        ("tags.k", ["v", None, None]),
        ("`a.b`", [1.5, None, 2.5]),
        ("id", [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_path_finds_what_is_there_and_null_elsewhere_in_any_part_of_a_chunk(path, values, start):
    done = mapped(ORDERS.slice(start), columns={"found": path})
    assert done.table["found"].to_pylist() == values[start:]
    assert done.refused == []


@pytest.mark.parametrize("text", ["a", "a.b", "a[0]", "a[0][1].b", "`a.b`.c", "`a``b`", "`a[0]`.b", "ä ö.ü"])
def test_a_path_is_written_as_it_was_read(text):
    assert path_text(parse_path(text)) == text


@pytest.mark.parametrize("text", ["", ".a", "a.", "a..b", "[0]", "a[x]", "a[-1]", "a[0", "a]b", "`a", "a`b`"])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(WrongValue):
        parse_path(text)


@pytest.mark.parametrize(
    ("path", "near"), [("custmer.address", "customer"), ("customer.adress.city", "address"), ("id.x", None)]
)
def test_a_path_that_no_row_can_have_is_an_error_that_names_the_nearest(path, near):
    with pytest.raises(TransformError, match=r"mapping\.columns\.found") as caught:
        mapped(columns={"found": path})
    assert near is None or f"did you mean {near}?" in (caught.value.hint or "")


def test_a_path_that_may_be_missing_is_null_in_its_type_or_its_default():
    done = mapped(columns={"a": {"from": "customer.vip", "cast": "bool"}, "b": {"from": "nope", "default": "none"}})
    assert done.table.schema.field("a").type == pa.bool_()
    assert done.table.select(["a", "b"]).to_pylist() == [{"a": None, "b": "none"}] * 3


def test_the_rest_is_kept_but_for_what_is_mentioned():
    done = mapped(columns={"city": "customer.address.city", "number": "id"})
    assert done.table.column_names == ["city", "number", "items", "tags", "a.b", RESCUED]
    dropped = mapped(ORDERS.append_column(OBJECT, [[{"uri": "u"}] * 3]), columns={"number": "id"}, rest="drop")
    assert dropped.table.column_names == ["number", RESCUED, OBJECT]


def test_structs_are_flattened_to_the_depth_asked_for():
    flat = mapped(flatten={"customer": "c_"})
    assert flat.table.column_names[:2] == ["c_address", "c_age"]
    deep = mapped(flatten={"customer": {"prefix": "c_", "depth": 2}})
    assert deep.table.column_names[:3] == ["c_address_city", "c_address_zip", "c_age"]
    assert deep.table["c_address_city"].to_pylist() == ["Köln", None, None]
    with pytest.raises(TransformError, match="no struct"):
        mapped(flatten={"id": "x"})
    with pytest.raises(TransformError, match="no column of that name"):
        mapped(flatten={"custmer": "x"})


def test_two_columns_of_one_name_are_an_error():
    with pytest.raises(TransformError, match="two columns of one name"):
        mapped(columns={"AGE": "id"}, flatten={"customer": ""})


def test_nested_values_are_kept_as_json():
    done = mapped(columns={"raw": {"from": "items", "keep_json": True}})
    assert done.table["raw"].to_pylist() == ['[{"sku":"a"},{"sku":"b"}]', "[]", None]


def test_constants_have_the_type_that_they_are_cast_to():
    done = mapped(
        columns={"a": {"constant": 1}, "b": {"constant": "2024-01-01", "cast": "date"}, "c": {"constant": True}}
    )
    assert done.table.select(["a", "b", "c"]).to_pylist()[0] == {"a": 1, "b": dt.date(2024, 1, 1), "c": True}
    with pytest.raises(TransformError, match="the constant is no"):
        mapped(columns={"a": {"constant": "x", "cast": "date"}})
    with pytest.raises(TransformError, match="the default is no"):
        mapped(columns={"a": {"from": "id", "default": "x"}})


def test_a_default_stands_for_null_and_never_for_what_does_not_fit():
    values, refused = column(["5", "x", None], cast="int64", default=0)
    assert values == [5, 0, 0]
    assert refused == [False, True, False]


@pytest.mark.parametrize(
    ("pattern", "text", "day"),
    [
        ("%d.%m.%Y", "1.2.2024", (2024, 2, 1)),
        ("%d.%m.%Y", "29.02.2024", (2024, 2, 29)),
        ("%d.%m.%Y", "29.02.2023", None),
        ("%d.%m.%Y", "29.02.1900", None),
        ("%d.%m.%Y", "29.02.2000", (2000, 2, 29)),
        ("%d.%m.%Y", "00.01.2024", None),
        ("%d.%m.%Y", "01.13.2024", None),
        ("%d.%m.%Y", "01.01.2024 ", (2024, 1, 1)),
        ("%d.%m.%Y", "01.01.20245", None),
        ("%d.%m.%Y", "01-01-2024", None),
        ("%d %b %Y", "03 sep 1969", (1969, 9, 3)),
        ("%d %B %Y", "03 September 1969", (1969, 9, 3)),
        ("%d %B %Y", "03 Sept 1969", None),
        ("%m/%d/%y", "12/31/68", (2068, 12, 31)),
        ("%m/%d/%y", "12/31/69", (1969, 12, 31)),
        ("%Y-%m-%d", "0000-01-01", None),
        ("%Y-%m-%d", "0001-01-01", (1, 1, 1)),
    ],
)
def test_a_date_is_read_by_its_pattern_alone(pattern, text, day):
    values, refused = column([None, text], cast="date", format=pattern)
    assert values == [None, None if day is None else dt.date(*day)]
    assert refused == [False, day is None]


@pytest.mark.parametrize(
    ("pattern", "zone", "text", "utc"),
    [
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "01.07.2024 12:00", "2024-07-01T10:00:00"),
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "31.03.2024 02:30", None),  # skipped
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "27.10.2024 02:30", None),  # twice
        ("%d.%m.%Y %H:%M", "UTC", "27.10.2024 24:00", None),
        ("%Y-%m-%d %I:%M %p", "UTC", "2024-01-05 12:30 AM", "2024-01-05T00:30:00"),
        ("%Y-%m-%d %I:%M %p", "UTC", "2024-01-05 13:30 PM", None),
        ("%FT%T%z", "Europe/Berlin", "2024-01-02T03:04:05-0130", "2024-01-02T04:34:05"),
        ("%FT%T%z", "UTC", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05"),
        ("%FT%T%z", "UTC", "2024-01-02T03:04:05+25:00", None),
        ("%F %T.%f", "UTC", "2024-01-02 03:04:05.5", "2024-01-02T03:04:05.500000"),
        ("%F %T", "America/New_York", "2024-01-02 03:04:05", "2024-01-02T08:04:05"),
    ],
)
def test_a_time_is_read_in_its_zone_and_never_guessed(pattern, zone, text, utc):
    values, refused = column([text, None], cast="timestamp", format=pattern, timezone=zone)
    expected = None if utc is None else dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC)
    assert values == [expected, None]
    assert refused == [utc is None, False]


def test_iso_times_without_a_zone_are_of_the_zone_named():
    texts = ["2024-07-01 12:00:00", "2024-07-01T12:00:00+01:00", "2024-07-01", "2024-03-31 02:30:00"]
    values, refused = column(texts, cast="timestamp", timezone="Europe/Berlin")
    hours = [value and (value.day, value.hour) for value in values]
    assert hours == [(1, 10), (1, 11), (30, 22), None]
    assert refused == [False, False, False, True]


def test_a_date_takes_no_time_of_day():
    values, refused = column(["2024-01-01 00:00:00", "2024-01-01 00:00:01"], cast="date", format="%F %T")
    assert values == [dt.date(2024, 1, 1), None]
    assert refused == [False, True]


def test_numbers_are_read_with_their_separators():
    style = {"decimal": ",", "thousands": "."}
    texts = ["1.234,56", "1234,5", "-1.000", "1.23,4", "1,2,3", "nan", "", " 7 ", "\u22125", "1e3", None]
    values, refused = column(texts, cast="decimal(10, 2)", format=style)
    expected = ["1234.56", "1234.50", "-1000.00", None, None, None, None, "7.00", "-5.00", "1000.00", None]
    assert values == [None if text is None else Decimal(text) for text in expected]
    assert refused == [text is not None and value is None for text, value in zip(texts, values, strict=True)]


def test_a_chunk_reads_each_number_as_it_would_be_read_alone():
    """The quick way over plain numbers takes nothing that the careful way refuses."""
    for text in ["nan", "inf", "1e999", "0x10", "1_0", "+5", "5.", ".5", "--5", "1 000"]:
        alone, _ = column([text], cast="float64", format={"decimal": "."})
        beside, _ = column([text, "1,5x"], cast="float64", format={"decimal": "."})
        assert alone == beside[:1], text
