"""A declared schema is held against every record, counted path by path, and quotes no value."""

from __future__ import annotations

import json

import pytest

from lakeray.errors import LakerayError
from lakeray.spec.load import WorkflowFileError
from tests.unit.importer.small_lake import SmallLake, balance, lines

SCHEMA = {
    "type": "object",
    "required": ["id", "email"],
    "properties": {
        "id": {"type": "integer", "minimum": 0},
        "email": {"type": ["string", "null"]},
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}},
        "day": {"type": "string", "format": "date"},
    },
    "additionalProperties": False,
}
RECORDS = [
    {"id": 1, "email": "secret@example.org", "items": [{"price": 1.5}], "day": "2024-01-02"},
    {"id": -1, "email": "secret@example.org"},
    {"id": 3, "email": None, "items": []},
    {"id": 4, "email": "x", "items": [{"price": 1}, {"price": "secret"}]},
    {"id": 5, "email": "x", "day": "secret"},
    {"id": 6, "email": "x", "strange": 1},
]
BAD = {"id": [-1], "items[].price": [4], "day": [5], "record": [6]}


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path)


def declare(lake, violation="quarantine", schema=None):
    lake.source = {"declared_schema": {"json_schema": schema or SCHEMA, "on_violation": violation}}


def ids(lake):
    return sorted(row["id"] for row in lake.rows())


def test_records_that_violate_it_go_to_quarantine_with_the_path(lake):
    declare(lake)
    lake.put("a.json", lines(*RECORDS))
    summary = lake.run()
    assert ids(lake) == [1, 3]
    assert balance(summary) == {"read": 6, "written": 2, "quarantined": 4}
    found = {row["rule"].removeprefix("schema:"): json.loads(row["record"])["id"] for row in lake.quarantined()}
    assert found == {path: key for path, (key,) in BAD.items()}
    assert all("secret" not in row["reason"] for row in lake.quarantined())
    counted = {name: (item.checked, item.violated) for name, item in summary.expectations.items()}
    assert counted == {f"schema:{path}": (6, 1) for path in BAD}


def test_drop_and_warn_only_count(lake):
    declare(lake, "drop")
    lake.put("a.json", lines(*RECORDS))
    assert balance(lake.run()) == {"read": 6, "written": 2, "dropped": 4}
    declare(lake, "warn")
    lake.put("b.json", lines(*RECORDS))
    summary = lake.run()
    assert (summary.rows.written, summary.rows.quarantined) == (6, 0)
    assert sum(item.violated for item in summary.expectations.values()) == 4


def test_fail_stops_and_names_object_record_and_path(lake):
    declare(lake, "fail")
    lake.put("a.json", lines(RECORDS[0]))
    lake.run()
    lake.put("b.json", lines(RECORDS[0], RECORDS[3]))
    with pytest.raises(LakerayError) as caught:
        lake.run()
    assert f"record 2 of {lake.uri('b.json')}" in str(caught.value)
    assert "items[].price" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert ids(lake) == [1]


def test_masked_columns_are_masked_in_quarantine_by_their_new_names_too(lake):
    lake.source = {"names": "snake_case", "declared_schema": {"json_schema": {"properties": {"id": {"maximum": 0}}}}}
    lake.step = {"mask": {"e_mail": {"redact": True}}}
    lake.put("a.json", lines({"id": 1, "E-Mail": "secret"}, {"id": 0, "E-Mail": "secret"}))
    lake.run()
    assert ids(lake) == [0]
    ((rule, record),) = [(row["rule"], row["record"]) for row in lake.quarantined()]
    assert rule == "schema:id"
    assert "secret" not in record


def test_arrow_types_are_hints_and_checks(lake):
    types = {"id": "int64 not null", "price": "decimal(10, 2)", "at": "timestamp"}
    lake.source = {"format": "csv", "declared_schema": {"arrow": types}}
    lake.put("a.csv", b"id,price,at\n1,1.25,2024-01-02\n,1,2024-01-02\n3,much,2024-01-02\n")
    lake.put("b.csv", b"id,price,at,x\n4,1,2024-01-02,\n5,1,2024-01-02,y\n")
    summary = lake.run()
    assert lake.schema()["price"] == "decimal128(10, 2)"
    assert ids(lake) == [1, 4]
    assert sorted(row["rule"] for row in lake.quarantined()) == ["schema:id", "schema:price", "schema:x"]
    assert balance(summary) == {"read": 5, "written": 2, "quarantined": 3}


def test_a_schema_in_a_file_is_read_where_the_workflow_is_loaded(lake, tmp_path):
    path = tmp_path / "orders.schema.json"
    path.write_text(json.dumps({"properties": {"id": {"maximum": 1}}}))
    declare(lake, schema=str(path))
    lake.put("a.json", lines({"id": 1}, {"id": 2}))
    lake.run()
    assert ids(lake) == [1]


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "can be read"), ("{", "holds a JSON Schema"), ("[]", "is an object"), ('{"type": "txt"}', "correct JSON")],
)
def test_a_file_that_holds_no_schema_is_a_wrong_workflow_file(lake, tmp_path, content, told):
    path = tmp_path / "orders.schema.json"
    if content is not None:
        path.write_text(content)
    declare(lake, schema=str(path))
    with pytest.raises(WorkflowFileError, match=told):
        lake.workflow()


def test_other_documents_are_not_fetched(lake):
    declare(lake, schema={"$ref": "http://127.0.0.1:1/schema.json"})
    lake.put("a.json", lines({"id": 1}))
    with pytest.raises(LakerayError, match="refers to"):
        lake.run()
