"""Every element has its place, and every field of it a column that no other field has."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from lakeray.spec.unnest import Unnest
from lakeray.transform.unnest import child_rows, child_schema, list_type


@pytest.mark.parametrize("key", [["id"], ["id", "l_id"], ["l_id"], ["id", "l_l_id"], ["L_ID", "l_position"]])
def test_fields_and_columns_tell_each_other(key):
    unnest = Unnest.model_validate({"from": "l", "key": key})
    fields = [f"{'l_' * times}{name}" for times, name in itertools.product(range(5), ("id", "position", "x"))]
    kind = pa.list_(pa.struct([pa.field(name, pa.int64()) for name in fields]))
    rows = pa.schema([*(pa.field(name, pa.int64()) for name in key), pa.field("l", kind)])
    child = child_schema(rows, unnest, table="c")
    assert len({name.casefold() for name in child.names}) == len(child.names) == len(key) + 1 + len(fields)
    assert list_type(child, unnest, structs=True) == kind


def test_what_lies_behind_a_null_list_has_no_rows():
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), pa.array([1, 2, 3]), mask=pa.array([True, False]))
    unnest = Unnest.model_validate({"from": "l", "key": ["id"]})
    (rows,) = child_rows(pa.table({"id": [7, 8], "l": lists}), unnest, name="c")
    assert rows.to_pylist() == [{"id": 8, "position": 0, "value": 3}]
