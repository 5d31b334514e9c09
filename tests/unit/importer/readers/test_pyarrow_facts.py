"""What lakeray's readers rest on in other libraries: where one of these changes, look at the code that cites it."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.json as pj
import pytest

CRASH = "import pyarrow as pa, pyarrow.json as pj; pj.read_json(pa.BufferReader({}))"


@pytest.mark.parametrize("text", ["b'null\\n'", "b'{\"a\":' + b'[' * 100_000 + b']' * 100_000 + b'}'"])
def test_pyarrow_ends_the_process_on_some_json(text: str) -> None:
    """Why no line reaches pyarrow unless it begins and ends with a brace and is not deep."""
    done = subprocess.run([sys.executable, "-c", CRASH.format(text)], capture_output=True, check=False, timeout=60)
    assert done.returncode < 0, "pyarrow no longer crashes here: the guard in json_chunks may go"


def test_pyarrow_builds_a_list_too_short_when_null_comes_first() -> None:
    """Why json_table validates every column."""
    table = pj.read_json(pa.BufferReader(b'{"a": [null, 1]}\n'))
    with pytest.raises(pa.ArrowInvalid):
        table.validate()


def test_pyarrow_makes_floats_of_large_integers_without_a_word() -> None:
    """Why json_types looks at large floats."""
    table = pj.read_json(pa.BufferReader(b'{"a": 123456789012345678901234567890}\n'))
    assert table.schema.field("a").type == pa.float64()


def test_pyarrow_passes_invalid_utf8_from_json() -> None:
    """Why blocks are checked for UTF-8."""
    table = pj.read_json(pa.BufferReader(b'{"a": "\xff"}\n'))
    with pytest.raises(pa.ArrowInvalid):
        table.validate(full=True)


def test_pyarrow_counts_two_objects_of_a_line_as_two_rows() -> None:
    """Why the number of rows is compared with the number of records."""
    assert pj.read_json(pa.BufferReader(b'{"a":1}{"a":2}\n')).num_rows == 2


def test_msgspec_passes_invalid_utf8_and_numbers_without_bounds() -> None:
    """Why screening with it is not the last word."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    assert set(decode(b'{"a": "\xff", "b": 1e400}')) == {"a", "b"}


def test_pyarrow_closes_a_csv_quote_at_the_end_of_the_text() -> None:
    """Why csv_records finds records without an end itself."""
    names = pc.ReadOptions(column_names=["a", "b"])
    table = pc.read_csv(pa.BufferReader(b'1,"x\n2,y\n'), read_options=names)
    assert table.num_rows == 1


def test_joined_tables_without_columns_forget_their_rows() -> None:
    """Why coalesce leaves them apart."""
    table = pj.read_json(pa.BufferReader(b"{}\n{}\n"))
    assert table.num_rows == 2
    assert pa.concat_tables([table, table]).num_rows == 0
