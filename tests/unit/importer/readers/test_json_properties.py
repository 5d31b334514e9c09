"""For any JSON rows and any division into blocks, the reader returns what Python's json module does."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.errors import ReadError
from lakeray.importer.readers import ReadOptions, Refused, read

NAMES = st.sampled_from(["a", "b", "c.d", "", "a/b", "é"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["2020-01-01", "2020-01-01T00:00:00Z", "1", "null", '"]},{', "\\", "\u2028"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 10**30, 2**64])
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3), max_leaves=8)
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=12)
TYPED = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "a": st.integers(-9, 9),
            "b": TEXTS,
            "c.d": st.lists(st.none() | TEXTS, max_size=3),
            "": st.floats(-9, 9),
        },
    ),
    max_size=30,
)
BAD = st.sampled_from(
    [b"{", b"x", b'{"a":}', b'{"a":1}}', b"null", b"[1]", b'{"a":"\xff"}', b'{"a":1,"a":1}', b'{"a":1e999}', b"{]"]
)
WIRE = st.none() | st.builds(
    lambda kinds: pa.schema(list(kinds.items())),
    st.dictionaries(
        NAMES,
        st.sampled_from(
            [
                pa.int64(),
                pa.float64(),
                pa.string(),
                pa.bool_(),
                pa.timestamp("us"),
                pa.list_(pa.int64()),
                pa.struct([("a", pa.string()), ("b", pa.int32())]),
                pa.int8(),
                pa.null(),
                pa.map_(pa.string(), pa.int64()),
            ]
        ),
        max_size=3,
    ),
)


def everything(data: bytes, **options: Any) -> tuple[dict[int, dict[str, Any]], list[Refused]]:
    """Every row by its number, with what is in ``extras`` put back, and the refused records."""
    rows: dict[int, dict[str, Any]] = {}
    refused: list[Refused] = []
    for chunk in read(io.BytesIO(data), ReadOptions(**{"format": "json", **options}), name="memory:x.json"):
        chunk.table.validate(full=True)
        extras = [None] * len(chunk.rows) if chunk.extras is None else chunk.extras.to_pylist()
        for number, row, extra in zip(chunk.rows.to_pylist(), chunk.table.to_pylist(), extras, strict=True):
            assert number not in rows
            for name, value in json.loads(extra or "{}").items():
                assert row.get(name) is None, "a value is either in its column or in extras"
                row[name] = value
            rows[number] = row
        refused += chunk.refused
    return rows, refused


def canonical(value: Any) -> Any:
    """A value without the nulls that Arrow's structs add; whole floats as integers, for which JSON has one notation."""
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items() if canonical(item) not in (None, {})}
    if isinstance(value, list):
        return [canonical(item) if canonical(item) != {} else None for item in value]
    if isinstance(value, bool):
        return f"bool {value}"
    return int(value) if isinstance(value, float) and value.is_integer() else value


def encoded(row: dict[str, Any], *, ascii_only: bool) -> bytes:
    return json.dumps(row, ensure_ascii=ascii_only).encode()


@settings(max_examples=300, deadline=None)
@given(
    rows=ROWS | TYPED,
    block=st.integers(1, 300),
    ascii_only=st.booleans(),
    end=st.sampled_from([b"\n", b"\r\n"]),
    wire=WIRE,
)
def test_lines_come_back_as_they_were(rows: list[Any], block: int, ascii_only: bool, end: bytes, wire: Any) -> None:
    data = end.join(encoded(row, ascii_only=ascii_only) for row in rows)
    found, refused = everything(data, chunk_bytes=block, wire_schema=wire, options={"shape": "lines"})
    assert not refused
    assert list(found) == list(range(1, len(rows) + 1))
    assert [canonical(row) for row in found.values()] == [canonical(json.loads(json.dumps(row))) for row in rows]


@settings(max_examples=200, deadline=None)
@given(rows=ROWS | TYPED, block=st.integers(1, 300), indent=st.sampled_from([None, 0, 2]), wire=WIRE)
def test_array_elements_come_back_as_they_were(rows: list[Any], block: int, indent: int | None, wire: Any) -> None:
    found, refused = everything(json.dumps(rows, indent=indent).encode(), chunk_bytes=block, wire_schema=wire)
    assert not refused
    assert list(found) == list(range(1, len(rows) + 1))
    assert [canonical(row) for row in found.values()] == [canonical(row) for row in rows]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), rows=ROWS | TYPED, block=st.integers(1, 300))
def test_malformed_lines_are_refused_exactly(data: st.DataObject, rows: list[Any], block: int) -> None:
    lines: list[bytes] = [encoded(row, ascii_only=False) for row in rows]
    for _ in range(data.draw(st.integers(1, 4))):
        lines.insert(data.draw(st.integers(0, len(lines))), data.draw(BAD))
    blanks = data.draw(st.lists(st.integers(0, len(lines)), max_size=3))
    text, numbers, bad = [], {}, {}
    for number, line in enumerate(lines, 1):
        text += [b"  "] * blanks.count(number - 1)
        numbers[number] = len(text) + 1
        if not _is_object(line):
            bad[number] = line
        text.append(line)
    found, refused = everything(b"\n".join(text), chunk_bytes=block, options={"shape": "lines"})
    assert {r.row: (r.raw, r.line) for r in refused} == {n: (line, numbers[n]) for n, line in bad.items()}
    assert all(r.reason and (r.column is None or r.column >= 1) for r in refused)
    good = {n: json.loads(line) for n, line in enumerate(lines, 1) if n not in bad}
    assert {n: canonical(row) for n, row in found.items()} == {n: canonical(row) for n, row in good.items()}


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict) and b'"a":1,"a"' not in line and b"1e999" not in line
    except ValueError:
        return False


@settings(max_examples=100, deadline=None)
@given(rows=TYPED, block=st.integers(1, 200), cut=st.integers(0, 400))
def test_a_truncated_array_gives_only_whole_elements(rows: list[Any], block: int, cut: int) -> None:
    text = json.dumps(rows).encode()
    found: list[Any] = []
    with pytest.raises(ReadError) if 0 < cut < len(text) else nullcontext():
        options = ReadOptions(format="json", chunk_bytes=block)
        for chunk in read(io.BytesIO(text[:cut]), options, name="memory:x.json"):
            assert not chunk.refused
            found += chunk.table.to_pylist()
    assert [canonical(row) for row in found] == [canonical(row) for row in rows[: len(found)]]
