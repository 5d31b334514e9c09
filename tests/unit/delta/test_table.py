"""Tables are opened, created and widened safely beside others, and refused when their demands cannot be kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field

from lakeray.delta import table as table_module
from lakeray.delta.failures import translated
from lakeray.delta.table import TableHandle, add_columns, create_table, open_table, require_table, set_properties
from lakeray.delta.types import delta_schema
from lakeray.errors import AccessDenied, ObjectNotFound, StoreUnavailable, TableError, UnsupportedTable

SCHEMA = pa.schema([("n", pa.int64()), ("s", pa.string())])


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work(k)`` gave or raised in threads that start together."""
    gate = threading.Barrier(count)
    found: list[Any] = [None] * count

    def one(place: int) -> None:
        gate.wait()
        try:
            found[place] = work(place)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found[place] = error

    threads = [threading.Thread(target=one, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_an_absent_table_is_none(tmp_path: Path) -> None:
    assert open_table(str(tmp_path / "none")) is None
    assert open_table(str(tmp_path)) is None
    assert not (tmp_path / "none").exists()
    with pytest.raises(TableError, match="no table"):
        require_table(str(tmp_path))


def test_a_file_uri_is_the_same_table(tmp_path: Path) -> None:
    made = create_table(f"file://{tmp_path}/t", SCHEMA)
    assert require_table(str(tmp_path / "t")).id == made.id


def test_a_folder_with_strange_characters(tmp_path: Path) -> None:
    uri = str(tmp_path / "a b é+#?=&")
    made = create_table(uri, SCHEMA)
    assert require_table(uri).id == made.id
    with pytest.raises(UnsupportedTable, match="percent"):
        create_table(str(tmp_path / "a%20b"), SCHEMA)


def test_a_damaged_log_is_an_error_and_not_an_absent_table(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA)
    set_properties(uri, {"lakeray.x": "1"})
    Path(uri, "_delta_log", f"{0:020d}.json").unlink()
    with pytest.raises(TableError):
        open_table(uri)


def test_a_garbled_log_is_an_error(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA)
    Path(uri, "_delta_log", f"{0:020d}.json").write_text('{"metaData": ')
    with pytest.raises(TableError):
        open_table(uri)


def test_what_a_handle_tells(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    schema = pa.schema(
        [
            pa.field("n", pa.int64(), nullable=False),
            pa.field("st", pa.struct([pa.field("x", pa.int64(), nullable=False)])),
            pa.field("p", pa.date32()),
        ]
    )
    made = create_table(uri, schema, ["p"], {"lakeray.pipeline": "abc", "delta.checkpointInterval": "7"})
    assert made.version == 0
    assert made.schema.equals(schema)
    assert made.partition_by == ["p"]
    assert made.properties == {"lakeray.pipeline": "abc", "delta.checkpointInterval": "7"}
    assert made.not_null == ["n", "st.x"]
    assert (made.checks, made.generated) == ([], {})
    assert made.transaction_version("nobody") is None
    DeltaTable(uri).alter.add_constraint({"positive": "n > 0"})
    assert require_table(uri).checks == [("positive", "n > 0")]
    require_table(uri).check_writable()


def test_creating_twice_gives_the_same_table(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    first = create_table(uri, SCHEMA, ["s"])
    assert create_table(uri, SCHEMA, ["s"]).id == first.id
    assert create_table(uri, pa.schema([*SCHEMA, ("more", pa.int64())]), ["s"]).id == first.id


def test_racing_creators_share_one_table(tmp_path: Path) -> None:
    for place in range(5):
        found = at_once(6, lambda _, place=place: create_table(str(tmp_path / f"t{place}"), SCHEMA, ["s"]).id)
        assert len(set(map(str, found))) == 1, found


def test_a_creator_that_loses_late_gets_the_winners_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "t")
    plain = DeltaTable.create

    def late(*args: Any, **options: Any) -> DeltaTable:
        monkeypatch.setattr(DeltaTable, "create", plain)
        create_table(uri, SCHEMA, properties={"lakeray.who": "winner"})
        return plain(*args, **options)

    monkeypatch.setattr(DeltaTable, "create", late)
    assert create_table(uri, SCHEMA).properties == {"lakeray.who": "winner"}


@pytest.mark.parametrize(
    ("schema", "partition_by", "message"),
    [
        (SCHEMA, ["n"], "partitioned by"),
        (pa.schema([("n", pa.string()), ("s", pa.string())]), [], "'n'.*int64, not string"),
        (pa.schema([("N", pa.int64())]), [], "upper and lower case"),
    ],
)
def test_an_incompatible_table_is_refused(
    schema: pa.Schema, partition_by: list[str], message: str, tmp_path: Path
) -> None:
    create_table(str(tmp_path), SCHEMA)
    with pytest.raises(TableError, match=message) as caught:
        create_table(str(tmp_path), schema, partition_by)
    assert caught.value.hint


def test_columns_are_added_once(tmp_path: Path) -> None:
    uri = str(tmp_path)
    create_table(uri, SCHEMA)
    new = [pa.field("n", pa.int64()), pa.field("x", pa.int32(), nullable=False), pa.field("l", pa.list_(pa.string()))]
    added = add_columns(uri, new)
    assert added.schema.names == ["n", "s", "x", "l"]
    assert added.not_null == []
    assert added.version == 1
    assert add_columns(uri, new).version == 1
    assert add_columns(uri, []).version == 1


@pytest.mark.parametrize("field", [pa.field("n", pa.string()), pa.field("N", pa.int64())])
def test_a_clash_of_type_or_case_is_refused(field: pa.Field, tmp_path: Path) -> None:
    create_table(str(tmp_path), SCHEMA)
    with pytest.raises(TableError, match=r"'n'|'N'"):
        add_columns(str(tmp_path), [pa.field("fine", pa.int64()), field])
    assert require_table(str(tmp_path)).schema.names == ["n", "s"]


def test_new_columns_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    create_table(str(tmp_path), SCHEMA)
    with pytest.raises(UnsupportedTable, match="both called"):
        add_columns(str(tmp_path), [pa.field("x", pa.int64()), pa.field("X", pa.int64())])


def test_racing_adders_all_succeed(tmp_path: Path) -> None:
    uri = str(tmp_path)
    create_table(uri, SCHEMA)
    found = at_once(5, lambda k: add_columns(uri, [pa.field(f"c{k}", pa.int64()), pa.field("both", pa.string())]))
    assert all(isinstance(one, TableHandle) for one in found), found
    assert sorted(require_table(uri).schema.names) == ["both", "c0", "c1", "c2", "c3", "c4", "n", "s"]


def test_an_adder_that_loses_to_another_type_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path)
    create_table(uri, SCHEMA)

    def rival(name: str) -> None:
        if name == "before_schema_commit" and "x" not in require_table(uri).schema.names:
            DeltaTable(uri).alter.add_columns([Field("x", "string")])

    monkeypatch.setattr(table_module, "failpoint", rival)
    with pytest.raises(TableError, match=r"'x'.*string, not int64"):
        add_columns(uri, [pa.field("x", pa.int64())], failpoints=True)


def test_properties_are_set_once(tmp_path: Path) -> None:
    create_table(str(tmp_path), SCHEMA, properties={"a.b": "1"})
    assert set_properties(str(tmp_path), {"a.b": "1"}).version == 0
    changed = set_properties(str(tmp_path), {"lakeray.pipeline": "x"})
    assert (changed.version, changed.properties) == (1, {"a.b": "1", "lakeray.pipeline": "x"})


def handmade(
    root: Path,
    *,
    writer: list[str],
    reader: list[str] | None = None,
    properties: dict[str, str] | None = None,
    column: dict[str, Any] | None = None,
) -> TableHandle:
    """A table whose log another engine could have written."""
    fields = [{"name": "n", "type": "long", "nullable": True, "metadata": column or {}}]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": reader or [], "writerFeatures": writer}
    metadata = {
        "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": [],
        "configuration": properties or {},
        "createdTime": 0,
    }
    (root / "_delta_log").mkdir()
    lines = [json.dumps({"protocol": protocol}), json.dumps({"metaData": metadata})]
    (root / "_delta_log" / f"{0:020d}.json").write_text("\n".join(lines))
    return require_table(str(root))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"writer": ["rowTracking", "domainMetadata"]}, "'domainMetadata'.*'rowTracking'"),
        ({"writer": ["identityColumns"]}, "identityColumns"),
        ({"writer": ["strangeNew"]}, "strangeNew"),
        ({"writer": ["v2Checkpoint"], "reader": ["v2Checkpoint"]}, "v2Checkpoint"),
        ({"writer": ["icebergCompatV2"]}, "icebergCompatV2"),
        (
            {
                "writer": ["columnMapping"],
                "reader": ["columnMapping"],
                "properties": {"delta.columnMapping.mode": "name"},
                "column": {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"},
            },
            "column mapping",
        ),
        (
            {
                "writer": ["deletionVectors"],
                "reader": ["deletionVectors"],
                "properties": {"delta.enableDeletionVectors": "true"},
            },
            "deletion vectors",
        ),
        ({"writer": [], "column": {"delta.identity.start": 1}}, "identity column 'n'"),
        ({"writer": [], "column": {"CURRENT_DEFAULT": "1"}}, "default value"),
    ],
)
def test_features_that_lakeray_lacks_are_named(table: dict[str, Any], message: str, tmp_path: Path) -> None:
    handle = handmade(tmp_path, **table)
    with pytest.raises(UnsupportedTable, match=message):
        handle.check_writable()


def test_features_that_demand_something_of_rows_are_told(tmp_path: Path) -> None:
    invariant = json.dumps({"expression": {"expression": "n > 3"}})
    handle = handmade(
        tmp_path,
        writer=["appendOnly", "invariants", "checkConstraints", "generatedColumns", "changeDataFeed"],
        properties={"delta.constraints.c": "n < 9", "delta.appendOnly": "true"},
        column={"delta.generationExpression": "1 + 4", "delta.invariants": invariant},
    )
    handle.check_writable()
    assert handle.checks == [("c", "n < 9"), ("invariant of n", "n > 3")]
    assert handle.generated == {"n": "1 + 4"}
    with pytest.raises(UnsupportedTable, match="append-only"):
        handle.check_writable("overwrite")


@pytest.mark.parametrize("mode", ["append", "overwrite", "rewrite"])
def test_a_change_feed_hinders_nobody(tmp_path: Path, mode: str) -> None:
    handle = handmade(tmp_path, writer=["changeDataFeed"], properties={"delta.enableChangeDataFeed": "true"})
    handle.check_writable(mode)


def test_inert_features_do_no_harm(tmp_path: Path) -> None:
    handle = handmade(
        tmp_path, writer=["columnMapping", "deletionVectors"], reader=["columnMapping", "deletionVectors"]
    )
    handle.check_writable()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.null(), pa.string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string()),
        (pa.large_list(pa.uint8()), pa.list_(pa.field("element", pa.int16()))),
        (pa.uint32(), pa.int64()),
        (pa.uint64(), pa.decimal128(20, 0)),
        (pa.timestamp("s"), pa.timestamp("us")),
        (pa.timestamp("ns", tz="Europe/Berlin"), pa.timestamp("us", tz="UTC")),
        (pa.date64(), pa.date32()),
        (pa.struct([("a", pa.large_binary())]), pa.struct([("a", pa.binary())])),
        (pa.map_(pa.large_string(), pa.uint8()), pa.map_(pa.string(), pa.int16())),
        (pa.decimal64(5, 2), pa.decimal128(5, 2)),
        (pa.binary(4), pa.binary()),
    ],
)
def test_types_are_stored_without_loss(given: pa.DataType, stored: pa.DataType, tmp_path: Path) -> None:
    schema = pa.schema([("v", given)])
    assert delta_schema(schema).field("v").type == stored
    assert create_table(str(tmp_path), schema).schema.field("v").type == stored


@pytest.mark.parametrize(
    "kind", [pa.time64("us"), pa.duration("us"), pa.decimal256(40, 2), pa.float16(), pa.list_(pa.time32("s"))]
)
def test_types_without_a_counterpart_are_refused_by_name(kind: pa.DataType, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTable, match="'v"):
        create_table(str(tmp_path / "t"), pa.schema([("v", kind)]))
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Generic S3 error: ... <Code>AccessDenied</Code>", AccessDenied),
        ("Generic S3 error: ... <Code>SignatureDoesNotMatch</Code>", AccessDenied),
        ("Generic S3 error: ... <Code>NoSuchBucket</Code>", ObjectNotFound),
        ("Generic S3 error: Error performing GET in 3s: error sending request", StoreUnavailable),
        ("something else", TableError),
    ],
)
def test_failures_of_delta_rs_become_lakerays(text: str, expected: type[Exception]) -> None:
    error = translated(OSError(text), "s3://b/t", "opening the table")
    assert type(error) is expected
    assert "s3://b/t" in error.message
    assert error.hint


@pytest.mark.parametrize("below", ["", "/deeper/table"])
def test_a_file_where_the_table_should_be_is_named(tmp_path, below):
    file = tmp_path / "orders"
    file.write_text("no table")
    with pytest.raises(TableError, match=f"there can be no table at {file}{below}: {file} is a file"):
        create_table(f"{file}{below}", pa.schema([("n", pa.int64())]))
    assert file.read_text() == "no table"


def test_the_last_cause_is_told_without_colours_and_signatures():
    causes = ["Generic LocalFileSystem error", "Unable to open", "Read-only file system"]
    error = translated(OSError("\n \x1b[31m\u21b3\x1b[0m ".join(causes)), "/t", "restoring it")
    assert error.message == "/t lies on a read-only file system: Generic LocalFileSystem error: Read-only file system"
    error = translated(OSError("Generic error\nsending (https://x/c/b?sv=1&sig=hunter2%3D)"), "abfss://c/t", "x")
    assert "hunter2" not in str(error)
    assert "https://x/c/b)" in error.message
