"""For any delimited rows and any division into blocks, the reader returns what Python's csv module wrote."""

from __future__ import annotations

import csv
import io
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakeray.importer.readers import ReadOptions, Refused, read

FIELDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.text('",\n\r;ab \\', max_size=6)
WIDTH = 3
ROWS = st.lists(st.lists(FIELDS, min_size=WIDTH, max_size=WIDTH), max_size=15)


def everything(data: bytes, **options: Any) -> tuple[dict[int, list[str | None]], list[Refused]]:
    rows: dict[int, list[str | None]] = {}
    refused: list[Refused] = []
    for chunk in read(io.BytesIO(data), ReadOptions(**{"format": "csv", **options}), name="memory:x.csv"):
        columns = [column.to_pylist() for column in chunk.table.columns]
        for number, *row in zip(chunk.rows.to_pylist(), *columns, strict=True):
            assert number not in rows
            rows[number] = row
        refused += chunk.refused
    return rows, refused


def written(rows: list[list[str]], **dialect: Any) -> str:
    out = io.StringIO()
    csv.writer(out, **dialect).writerows(rows)
    return out.getvalue()


@settings(max_examples=300, deadline=None)
@given(
    rows=ROWS,
    block=st.integers(1, 200),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_rows_come_back_as_they_were(rows: list[list[str]], block: int, end: str, delimiter: str, quoting: Any) -> None:
    header = ["a", "b", "c"]
    if quoting == csv.QUOTE_MINIMAL:  # csv.writer leaves a line end other than its own without quotes
        rows = [[field.translate({ord(c): None for c in "\r\n" if c not in end}) for field in row] for row in rows]
    text = written([header, *rows], lineterminator=end, delimiter=delimiter, quoting=quoting)
    found, refused = everything(text.encode(), chunk_bytes=block, options={"delimiter": delimiter})
    assert not refused
    assert [["" if value is None else value for value in row] for row in found.values()] == rows
    assert list(found) == list(range(1, len(rows) + 1))
    if quoting == csv.QUOTE_ALL:
        assert not any(value is None for row in found.values() for value in row), "a quoted empty text is not null"


@settings(max_examples=200, deadline=None)
@given(data=st.data(), block=st.integers(1, 200))
def test_bad_records_are_refused_exactly(data: st.DataObject, block: int) -> None:
    plain = st.lists(st.text("xyz 5é", max_size=4), min_size=WIDTH, max_size=WIDTH)
    bad = st.sampled_from([b"1,2", b"1,2,3,4", b'"x"y,2,3', b"1,\xff,3", b'1,"open,3'])
    lines, expected, refused_lines = [b"a,b,c"], {}, {}
    records = data.draw(st.lists(st.tuples(st.booleans(), plain, bad), max_size=12))
    for number, (is_bad, fields, wrong) in enumerate(records, 1):
        if is_bad:
            refused_lines[number] = wrong
            lines.append(wrong)
        else:
            expected[number] = [field or None for field in fields]
            lines.append(",".join(fields).encode())
    found, refused = everything(b"\n".join(lines) + b"\n", chunk_bytes=block)
    assert found == expected
    assert {r.row: (r.raw, r.line) for r in refused} == {n: (line, n + 1) for n, line in refused_lines.items()}
    assert all(r.reason for r in refused)


@settings(max_examples=200, deadline=None)
@given(text=st.text('a",\n\r', max_size=40), block=st.integers(1, 50))
@example(text='""a\r\na', block=1)
def test_any_text_gives_the_same_whatever_the_blocks(text: str, block: int) -> None:
    options = {"options": {"header": False, "names": ["a", "b"]}}
    whole = everything(text.encode(), **options)
    assert everything(text.encode(), chunk_bytes=block, **options) == whole
    rows, refused = whole
    numbers = sorted([*rows, *(r.row for r in refused)])
    assert numbers == list(range(1, len(numbers) + 1))
