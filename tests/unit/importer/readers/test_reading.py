"""Places, types and messages of what readers give, on small objects."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeray.errors import ReadError, StoreUnavailable
from lakeray.importer.readers import Chunk, ReadOptions, read


def chunks_of(data: bytes, kind: str, name: str = "s3://lake/x", **options: Any) -> list[Chunk]:
    return list(read(io.BytesIO(data), ReadOptions(format=kind, **options), name=name))


def test_a_malformed_line_is_refused_with_its_place_and_bytes() -> None:
    (chunk,) = chunks_of(b'{"a":1}\n\n{"a": tru}\n{"a":3}', "json")
    (refused,) = chunk.refused
    assert (refused.row, refused.line, refused.column, refused.raw) == (2, 3, 7, b'{"a": tru}')
    assert refused.reason == "the JSON is malformed: invalid literal, expected 'true'"
    assert chunk.rows.to_pylist() == [1, 3]


def test_columns_count_bytes_from_the_line_of_a_pretty_element() -> None:
    (chunk,) = chunks_of('[\n  {"ä": 1},\n  {"ä":\n    x}\n]'.encode(), "json")
    assert [(r.row, r.line, r.column) for r in chunk.refused] == [(2, 4, 5)]


def test_text_like_a_time_stays_as_it_was_written() -> None:
    lines = b'{"at":"2020-01-01","in":[{"at":"2020-01-01T00:00:00Z"}]}\n'
    (chunk,) = chunks_of(lines, "json")
    assert chunk.table.to_pylist() == [json.loads(lines)]


def test_a_wire_schema_gives_types_and_columns_that_are_absent() -> None:
    wire = pa.schema([("a", pa.float64()), ("b", pa.timestamp("us")), ("c", pa.decimal128(10, 2))])
    (chunk,) = chunks_of(b'{"a":1,"c":1.25}\n', "json", wire_schema=wire)
    assert chunk.table.schema.types == [pa.float64(), pa.string(), pa.decimal128(10, 2)]


def test_a_wire_schema_that_does_not_fit_is_not_an_error() -> None:
    wire = pa.schema([("a", pa.int8()), ("b", pa.string())])
    (chunk,) = chunks_of(b'{"a":1000,"b":1}\n{"a":2.5,"b":2}\n', "json", wire_schema=wire)
    assert chunk.table.to_pylist() == [{"a": 1000, "b": 1}, {"a": 2.5, "b": 2}]
    assert chunk.extras is None


def test_values_of_another_kind_go_to_extras() -> None:
    text = b'{"a":1}\n{"a":"x","b":1}\n{"a":2}\n{"a":{"y":[1.10]}}\n'
    (chunk,) = chunks_of(text, "json")
    assert chunk.table.column("a").to_pylist() == [1, None, 2, None]
    assert chunk.extras is not None
    assert chunk.extras.to_pylist() == [None, '{"a":"x"}', None, '{"a":{"y":[1.10]}}']


def test_an_empty_csv_field_is_null_and_a_quoted_one_is_not() -> None:
    (chunk,) = chunks_of(b'a,b\n,""\n', "csv")
    assert chunk.table.to_pylist() == [{"a": None, "b": ""}]


def test_csv_headers_are_made_unique() -> None:
    (chunk,) = chunks_of(b"a,a,,a_2,\n1,2,3,4,5\n", "csv")
    assert chunk.table.column_names == ["a", "a_3", "column_3", "a_2", "column_5"]


def test_a_csv_header_alone_gives_its_columns() -> None:
    (chunk,) = chunks_of(b"a,b\n", "csv")
    assert (chunk.table.column_names, chunk.table.num_rows) == (["a", "b"], 0)


def test_a_csv_row_of_the_wrong_width_is_refused_with_its_line() -> None:
    (chunk,) = chunks_of(b'a,b\n1,"x\ny"\n1,2,3\n', "csv")
    (refused,) = chunk.refused
    assert (refused.row, refused.line, refused.reason) == (2, 4, "expected 2 columns, found 3")


@pytest.mark.parametrize(
    ("data", "kind", "name", "part"),
    [
        (b"PAR1\0\0\0\0PAR1", "json", "a.json", "it looks like Parquet"),
        (gzip.compress(b"{}", mtime=0), "json", "a.json", "it looks like gzip-compressed data"),
        (b'{"a":1}', "json", "a.json.gz", "it looks like JSON text"),
        (b'{"a":1}', "parquet", "a.parquet", "it looks like JSON text"),
        (b"<html>", "avro", "a.avro", "it looks like XML or HTML text"),
        (b"", "orc", "a.orc", "it is empty"),
        (b"x", "cobol", "a", "format 'cobol' is not known"),
    ],
)
def test_an_object_that_is_something_else_says_what(data: bytes, kind: str, name: str, part: str) -> None:
    with pytest.raises(ReadError) as caught:
        chunks_of(data, kind, name)
    assert part in caught.value.message
    assert caught.value.uri == name
    assert caught.value.hint


def test_rows_before_a_truncated_gzip_are_given_first() -> None:
    packed = gzip.compress(b"".join(b'{"a": %d}\n' % (i * 7919 % 100003) for i in range(50_000)))
    seen = 0
    options = ReadOptions(format="json", chunk_bytes=10_000)
    with pytest.raises(ReadError, match="it ends in the middle"):  # noqa: PT012 - what came before counts
        for chunk in read(io.BytesIO(packed[:-100]), options, name="a.json.gz"):
            seen += chunk.table.num_rows
    assert seen > 40_000


def test_row_groups_before_a_corrupt_one_are_given_first() -> None:
    out = io.BytesIO()
    options = {"row_group_size": 1000, "compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"a": range(3000)}), out, **options)
    data = bytearray(out.getvalue())
    place = data.index((2500).to_bytes(8, "little"))
    data[place] ^= 1
    rows = 0
    with pytest.raises(ReadError, match=r"row group 3 of 3 cannot be read.*from row 2001 on"):  # noqa: PT012 - as above
        for chunk in read(io.BytesIO(bytes(data)), ReadOptions(format="parquet"), name="a.parquet"):
            rows += chunk.table.num_rows
    assert rows == 2000


class Failing(io.BytesIO):
    """A store that goes away in the middle."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 100:
            raise StoreUnavailable("gone")
        return super().read(min(size, 500) if size and size > 0 else 500)


@pytest.mark.parametrize("kind", ["json", "csv", "text", "parquet", "binary"])
def test_the_error_of_a_store_is_not_taken_for_damage(kind: str) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": range(3000)}), out)
    data = out.getvalue() if kind == "parquet" else b'{"a":1}\n' * 1000
    with pytest.raises(StoreUnavailable):
        list(read(Failing(data), ReadOptions(format=kind), name="a"))
