"""A number for a decimal column arrives with every digit that was written, or all of them are in rescued data."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.importer.readers import ReadOptions, read
from lakeray.importer.schema.source import wire_schema
from lakeray.spec.sources import Source
from lakeray.transform.coerce import Coercer
from tests.unit.importer.small_lake import SmallLake, lines

D = pa.decimal128(20, 4)
HINTS = {"d": "decimal(20, 4)", "deep": "struct<d: decimal(38, 30), list: list<decimal(38, 0)>>", "n": "int64"}
SOURCE = Source.model_validate({"uri": "s3://b/x/", "format": "json", "schema_hints": HINTS})
TARGET = pa.schema(list(SOURCE.hints.items()))
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")

whole = st.integers(-(10**18), 10**18).map(str)
numbers = st.one_of(
    whole,
    st.builds("{}.{}".format, whole, st.text("0123456789", min_size=1, max_size=6)),
    st.builds("{}e{}".format, st.integers(-999, 999), st.integers(-6, 20)),
    st.text("123456789", min_size=38, max_size=90),
)
values = st.one_of(
    numbers,
    numbers.map(lambda text: f'"{text}"'),
    st.sampled_from(["null", '"x"', "true", '{"a": 1}', "[1]", '""', '" 1.5 "']),
)
records = st.builds(
    '{{"d": {}, "deep": {{"d": {}, "list": [{}, {}]}}, "n": {}}}'.format,
    values,
    numbers | values,
    numbers,
    numbers | values,
    st.sampled_from(["1", '"x"', "2.5", "null"]),
)


def coerced(text: bytes) -> list[tuple[dict[str, object], dict[str, object]]]:
    """Rows in the source's types, each with its rescued data."""
    options = ReadOptions(format="json", wire_schema=wire_schema(SOURCE, TARGET), chunk_bytes=1 << 12)
    found = []
    for chunk in read(io.BytesIO(text), options, name="s3://b/x/a.json"):
        assert not chunk.refused
        done = Coercer(TARGET, evolution="add_columns").run(chunk.table, chunk.extras)
        rescued = done.rescued.to_pylist() if done.rescued else [None] * len(done.table)
        found += [(row, json.loads(text or "{}")) for row, text in zip(done.table.to_pylist(), rescued, strict=True)]
    return found


def digits(value: object) -> object:
    """The value with the numbers, and texts of numbers, in it as decimals."""
    if isinstance(value, dict):
        return {name: digits(item) for name, item in value.items()}
    if isinstance(value, list):
        return [digits(item) for item in value]
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return Decimal(repr(value)) if isinstance(value, float | int) and not isinstance(value, bool) else value


@given(st.lists(records, min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_every_digit_is_in_the_column_or_rescued(texts: list[str]) -> None:
    """Bare numbers, strings, both at once and other kinds beside them, at any depth, in columns that fit or do not."""
    written = [json.loads(text, parse_float=Decimal, parse_int=Decimal) for text in texts]
    for (row, rescued), value in zip(coerced("\n".join(texts).encode()), written, strict=True):
        if "d" in rescued:
            assert digits(rescued["d"]) == digits(value["d"])
        else:
            assert row["d"] == digits(value["d"])
        if "deep" in rescued:
            assert digits(rescued["deep"]) == digits(value["deep"])
        else:
            assert row["deep"] == digits(value["deep"])


@pytest.mark.parametrize("odd", ["1", '"x"', "1234567890123456.12345", "[0]"], ids=["none", "text", "digits", "list"])
def test_one_odd_value_costs_the_others_no_digit(tmp_path, odd):
    lake = SmallLake(tmp_path, source={"schema_hints": {"d": "decimal(20, 4)"}})
    good = [f"{n}234567890123.{n:04d}" for n in range(1, 200)]
    rows = [f'{{"d": {text}}}'.encode() for text in good]
    lake.put("a.json", lines(*rows[:100], f'{{"d": {odd}}}'.encode(), *rows[100:]))
    lake.run()
    assert {str(value) for value in lake.rows("d")} >= set(good)


def test_numbers_pass_as_decimals_and_texts_as_texts_in_one_reading() -> None:
    for value, kind in (("1234567890123456.1234", D), ('"1234567890123456.1234"', pa.string())):
        options = ReadOptions(format="json", wire_schema=pa.schema([("d", D)]))
        (chunk,) = read(io.BytesIO(f'{{"d": {value}}}'.encode()), options, name="x")
        assert chunk.table["d"].type == kind
        assert str(chunk.table["d"][0].as_py()) == "1234567890123456.1234"


def test_a_declared_json_schema_takes_decimals_for_numbers_and_for_strings(tmp_path):
    for kind in ("number", "string"):
        declared = {"json_schema": {"properties": {"d": {"type": kind, "minLength": 1, "minimum": 0}}}}
        lake = SmallLake(tmp_path / kind, source={"schema_hints": {"d": "decimal(20, 4)"}, "declared_schema": declared})
        value = b"1234567890123456.1234" if kind == "number" else b'"1234567890123456.1234"'
        lake.put("a.json", b'{"d": %s}\n{"d": %s}\n' % (value, b"-1" if kind == "number" else b'""'))
        lake.run()
        assert [str(value) for value in lake.rows("d")] == ["1234567890123456.1234"]
        assert len(lake.quarantined()) == 1
