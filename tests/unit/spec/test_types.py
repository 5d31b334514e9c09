"""Column types read as people write them, and their names read back as the same type."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.spec.types import SIMPLE, SYNONYMS, parse_type, type_name
from lakeray.spec.wrong import WrongValue

READ = {
    "int64": pa.int64(),
    "BIGINT": pa.int64(),
    " integer ": pa.int32(),
    "double": pa.float64(),
    "double precision": pa.float64(),
    "varchar": pa.string(),
    "varchar(20)": pa.string(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("us"),
    "timestamp[us, tz=Europe/Berlin]": pa.timestamp("us", tz="Europe/Berlin"),
    "timestamp[ms,tz=+02:00]": pa.timestamp("ms", tz="+02:00"),
    "date": pa.date32(),
    "date32[day]": pa.date32(),
    "decimal(18,2)": pa.decimal128(18, 2),
    "numeric(5)": pa.decimal128(5, 0),
    "list<int64>": pa.list_(pa.int64()),
    "array<string>": pa.list_(pa.string()),
    "list<item: int64>": pa.list_(pa.int64()),
    "list<element: int64 not null>": pa.list_(pa.field("element", pa.int64(), nullable=False)),
    "map<string, list<int>>": pa.map_(pa.string(), pa.list_(pa.int32())),
    "struct<a: int64, b: struct<c: date>>": pa.struct({"a": pa.int64(), "b": pa.struct({"c": pa.date32()})}),
    "struct<`a b`: int64, `x``y`: bool>": pa.struct({"a b": pa.int64(), "x`y": pa.bool_()}),
    "struct<a: int64 not null>": pa.struct([pa.field("a", pa.int64(), nullable=False)]),
    "struct<list: list<int8>, date: date>": pa.struct({"list": pa.list_(pa.int8()), "date": pa.date32()}),
}

REFUSED = {
    "intt": 'Did you mean "int"?',
    "list<in64>": 'Did you mean "int64"?',
    "Strng": 'Did you mean "string"?',
    "decimal": "decimal(18, 2)",
    "decimal(39, 2)": "a precision from 1 to 38",
    "decimal(5, 6)": "a precision from 1 to 38",
    "decimal(1,2,3)": "at most 2 numbers",
    "timestamp[min]": "allowed as a timestamp's unit: s, ms, us, ns",
    "timestamp[us, tz=Mars/Olympus]": "a time zone such as UTC",
    "list<int64": 'expected ">" instead of its end',
    "struct<a int64>": 'expected ":" instead of "int64" at character 10',
    "struct<a: int64, a: date>": '"a" is there twice',
    "int64>": 'nothing after "int64"',
    "": "allowed: int8",
    "time64": "allowed: int8",
    "$": "begins none",
    "list<" * 50: "nests at most 32 deep",
}


@pytest.mark.parametrize("text", READ)
def test_names_are_read(text):
    assert parse_type(text) == READ[text]


@pytest.mark.parametrize("text", [*READ, *SIMPLE, *SYNONYMS])
def test_a_type_survives_its_own_name_and_arrows(text):
    data_type = parse_type(text)
    assert parse_type(type_name(data_type)) == data_type


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_type_is_refused_with_advice(text):
    with pytest.raises(WrongValue) as caught:
        parse_type(text)
    assert REFUSED[text] in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        (pa.large_string(), "string"),
        (pa.string_view(), "string"),
        (pa.large_binary(), "binary"),
        (pa.binary(16), "binary"),
        (pa.dictionary(pa.int32(), pa.string()), "string"),
        (pa.large_list(pa.int64()), "list<int64>"),
        (pa.list_(pa.int64(), 3), "list<int64>"),
        (pa.decimal256(20, 2), "decimal(20, 2)"),
        (pa.time64("us"), "time64[us]"),
        (pa.null(), "null"),
    ],
)
def test_other_layouts_are_named_like_the_plain_type(layout, name):
    assert type_name(layout) == name


LEAVES = st.sampled_from([*SIMPLE.values(), pa.decimal128(10, 3), pa.timestamp("ns", tz="Asia/Tokyo")])
TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(pa.list_),
        st.builds(pa.map_, LEAVES, inner),
        st.dictionaries(st.text(min_size=1, max_size=5), inner, min_size=1, max_size=3).map(pa.struct),
    ),
    max_leaves=6,
)


@given(TYPES)
def test_any_nesting_survives_its_name(data_type):
    assert parse_type(type_name(data_type)) == data_type


@given(st.text(max_size=60) | st.text(alphabet="listruc<>:,()[] 0123`", max_size=60))
def test_any_text_is_a_type_or_a_wrong_value(text):
    try:
        data_type = parse_type(text)
    except WrongValue:
        return
    assert parse_type(type_name(data_type)) == data_type
