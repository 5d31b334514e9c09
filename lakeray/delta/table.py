"""A Delta table is opened, created and widened here, with what it demands of its writers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from lakeray.delta.failures import is_foreign, translated
from lakeray.delta.features import Demands, check_writable, demands
from lakeray.delta.partitions import check_partition_types
from lakeray.delta.types import delta_schema, fit
from lakeray.errors import CommitConflict, ObjectNotFound, TableError, UnsupportedTable
from lakeray.failpoints import failpoint
from lakeray.objects import delta_uri, join, open_store, storage_options
from lakeray.objects.uris import scheme

if TYPE_CHECKING:
    from deltalake import DeltaTable

_TRIES = 20
_SIGHTINGS = 3


class TableHandle:
    """A Delta table as it was when it was opened; it does not move on by itself.

    ``schema`` is in Arrow's types, ``partition_by`` the partition columns in order, ``properties`` the table's
    configuration, ``not_null`` the dotted paths of columns that take no null, ``checks`` (name, SQL) pairs that every
    row must satisfy, ``generated`` the SQL of generated columns.
    """

    def __init__(self, uri: str, delta: DeltaTable) -> None:
        self.uri = uri
        self.delta = delta
        self.version: int = delta.version()
        metadata = delta.metadata()
        self.id = str(metadata.id)
        self.partition_by: list[str] = list(metadata.partition_columns)
        self.properties: dict[str, str] = {name: value or "" for name, value in metadata.configuration.items()}
        fields = orjson.loads(delta.schema().to_json())["fields"]
        self._demands: Demands = demands(fields, self.properties)
        self._delta_schema = delta.schema()

    @property
    def schema(self) -> pa.Schema:
        """The columns, without Delta's own field metadata."""
        arrow = pa.schema(self._delta_schema.to_arrow())
        return pa.schema([pa.field(column.name, column.type, column.nullable) for column in arrow])

    @property
    def not_null(self) -> list[str]:
        """Dotted paths of columns that take no null."""
        return self._demands.not_null

    @property
    def checks(self) -> list[tuple[str, str]]:
        """CHECK constraints and column invariants: (name, SQL), true or null for every row."""
        return self._demands.checks

    @property
    def generated(self) -> dict[str, str]:
        """SQL by column: the column's value is what the SQL gives."""
        return self._demands.generated

    def check_writable(self, mode: str = "append") -> None:
        """Raise UnsupportedTable, naming the features, unless lakeray may append (or ``overwrite``) here."""
        protocol = self.delta.protocol()
        check_writable(
            self.uri,
            mode,
            reader=int(protocol.min_reader_version),
            writer=int(protocol.min_writer_version),
            features=[str(name) for name in (protocol.writer_features or []) + (protocol.reader_features or [])],
            properties=self.properties,
            found=self._demands,
        )

    def check_readable(self) -> None:
        """Raise UnsupportedTable when its files cannot be read by the names of its columns."""
        if self.properties.get("delta.columnMapping.mode", "none").strip().lower() not in ("none", ""):
            raise UnsupportedTable(
                f"the table at {self.uri} maps its columns to other names, which are not read",
                uri=self.uri,
                hint="copy it into a table without delta.columnMapping.mode",
            )

    def transaction_version(self, app_id: str) -> int | None:
        """The last transaction number of ``app_id`` in this version of the table; None when there is none."""
        found = self.delta.transaction_version(app_id)
        return None if found is None else int(found)


def open_table(uri: str) -> TableHandle | None:
    """The table as it is now; None when there is none at ``uri``.

    Raises an ObjectError when the store refuses or cannot be reached, TableError when there is something that cannot
    be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    if "%" in uri:
        raise UnsupportedTable(
            f"the table's uri {uri} has a percent sign, which delta-rs takes for an escape",
            uri=uri,
            hint="rename the folder",
        )
    tries = 0
    while True:
        try:
            return TableHandle(uri, DeltaTable(delta_uri(uri), storage_options=storage_options(uri)))
        except TableNotFoundError as error:
            tries += 1
            if not _has_log(uri):
                return None
            if tries == _SIGHTINGS:  # until then somebody may have been creating it just now
                raise TableError(
                    f"the log of the table at {uri} is damaged: {str(error).splitlines()[0]}",
                    uri=uri,
                    hint="restore the missing files of _delta_log from a backup or a bucket version",
                ) from error
        except Exception as error:
            if is_foreign(error):
                raise translated(error, uri, "opening the table") from error
            raise


def open_version(uri: str, version: int) -> TableHandle:
    """The table as it was at a version. Raises TableError when that can be read no more."""
    from deltalake import DeltaTable

    try:
        return TableHandle(uri, DeltaTable(delta_uri(uri), version=version, storage_options=storage_options(uri)))
    except Exception as error:
        if is_foreign(error):
            raise translated(error, uri, f"opening version {version} of the table") from error
        raise


def require_table(uri: str) -> TableHandle:
    """The table as it is now. Raises TableError when there is none."""
    handle = open_table(uri)
    if handle is None:
        raise TableError(f"there is no table at {uri}", uri=uri, hint="import into it first, or correct the uri")
    return handle


def _has_log(uri: str) -> bool:
    """Whether the log folder holds anything: "not found" must not hide a damaged log, a refusal or a missing bucket."""
    try:
        pages = open_store(uri).list(join(uri, "_delta_log/"))
        return any(name.endswith((".json", ".parquet")) for page in pages for name in page.column("uri").to_pylist())
    except ObjectNotFound:
        if scheme(uri) == "file":
            return False
        raise


def create_table(
    uri: str,
    schema: pa.Schema,
    partition_by: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
) -> TableHandle:
    """Create the table unless it is there; of racing creators one wins, the others get the winner's table.

    ``schema`` is converted as by ``types.delta_schema``. Raises TableError when a table is there whose partition
    columns differ or whose columns of the same name have other types (columns may be missing there: ``add_columns``),
    UnsupportedTable for types without a counterpart.
    """
    from deltalake import CommitProperties, DeltaTable

    wanted = delta_schema(schema)
    check_partition_types(wanted, list(partition_by))
    existing = open_table(uri)
    if existing is not None:
        return _compatible(existing, wanted, partition_by)
    try:
        DeltaTable.create(
            delta_uri(uri),
            schema=wanted,
            mode="error",
            partition_by=list(partition_by),
            configuration=dict(properties or {}),
            storage_options=storage_options(uri),
            raise_if_key_not_exists=False,  # lakeray's own properties are no Delta keys
            # With retries a creator that lost commits its "create" as version 1: another id, another schema.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    except Exception as error:
        if not is_foreign(error):
            raise
        existing = open_table(uri)  # another was faster, or the reply was lost
        if existing is None:
            raise translated(error, uri, "creating the table") from error
        return _compatible(existing, wanted, partition_by)
    return require_table(uri)


def _compatible(handle: TableHandle, wanted: pa.Schema, partition_by: Sequence[str]) -> TableHandle:
    if handle.partition_by != list(partition_by):
        raise TableError(
            f"the table at {handle.uri} is partitioned by {handle.partition_by}, not by {list(partition_by)}",
            uri=handle.uri,
            hint="say `partition_by` as the table has it, or import into another table",
        )
    absent_columns(handle, list(wanted))
    return handle


def absent_columns(handle: TableHandle, fields: Sequence[pa.Field]) -> list[pa.Field]:
    """Those of ``fields`` that the table lacks, or that have nested fields which it lacks. Raises TableError on a
    column of another type or another case.
    """
    have = {column.name: column for column in handle.schema}
    lower = {name.lower(): name for name in have}
    absent: list[pa.Field] = []
    for field in fields:
        known = have.get(field.name)
        if known is not None:
            found = fit(known.type, field.type)
            if found == "grows":
                absent.append(field)
            if found == "clashes":
                raise TableError(
                    f"the column {field.name!r} of {handle.uri} is {known.type}, not {field.type}",
                    uri=handle.uri,
                    hint=f"hint its type as {known.type}, or rename it in `select`",
                )
            continue
        other = lower.get(field.name.lower())
        if other is not None:
            raise TableError(
                f"{field.name!r} and the column {other!r} of {handle.uri} differ only in upper and lower case",
                uri=handle.uri,
                hint=f"rename it to {other!r} in `select`",
            )
        lower[field.name.lower()] = field.name
        absent.append(field)
    return absent


def add_columns(uri: str, fields: Sequence[pa.Field], *, failpoints: bool = False) -> TableHandle:
    """See to it that the table has these columns and what is nested in them, new ones nullable and last; returns the
    table as it then is.

    Idempotent, also beside another adder. Raises TableError on a clash of type or case, CommitConflict when others
    never leave a gap.
    """
    from deltalake import Schema

    wanted = [column.with_nullable(True) for column in delta_schema(pa.schema(list(fields)))]
    error: Exception | None = None
    for _ in range(_TRIES):
        handle = require_table(uri)
        absent = absent_columns(handle, wanted)
        if not absent:
            return handle
        try:
            if failpoints:
                failpoint("before_schema_commit")
            handle.delta.alter.add_columns(Schema.from_arrow(pa.schema(absent)).fields)
            if failpoints:
                failpoint("after_schema_commit")
        except Exception as failure:
            if not is_foreign(failure):
                raise
            error = failure
    raise translated(error, uri, "adding columns") if error else CommitConflict(f"{uri} never held still", uri=uri)


def set_properties(uri: str, properties: Mapping[str, str]) -> TableHandle:
    """See to it that the table has these properties; returns the table as it then is.

    Idempotent, also beside other writers. Raises CommitConflict when others never leave a gap.
    """
    error: Exception | None = None
    for _ in range(_TRIES):
        handle = require_table(uri)
        missing = {name: value for name, value in properties.items() if handle.properties.get(name) != value}
        if not missing:
            return handle
        try:
            handle.delta.alter.set_table_properties(missing, raise_if_not_exists=False)
        except Exception as failure:
            if not is_foreign(failure):
                raise
            error = failure
    raise translated(error, uri, "setting properties") if error else CommitConflict(f"{uri} never held still", uri=uri)
