"""What one commit of a table's log did to its rows: which files to read, and what their rows are.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-cdc-file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

import orjson

from lakeray.delta.partitions import parsed_value
from lakeray.delta.table import TableHandle
from lakeray.errors import TableError, UnsupportedTable

Kind = Literal["insert", "delete"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedFile:
    """A file of a commit. ``kind`` is what became of all of its rows; None for a change data file, which says so row by
    row. ``partition`` holds Python's values.
    """

    path: str
    kind: Kind | None
    partition: Mapping[str, Any]
    size_bytes: int
    rows: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitChanges:
    """The row changes of a commit, deletes first. ``removes``: it takes rows away and has no change data files."""

    files: list[ChangedFile] = field(default_factory=list)
    removes: bool = False
    at_ms: int = 0


def commit_changes(data: bytes, handle: TableHandle, *, uri: str) -> CommitChanges:
    """Read a log entry, whose uri is ``uri``, of the handle's table; files that say that no row changed are left out.

    Raises TableError for a damaged entry, UnsupportedTable for deletion vectors.
    """
    added: list[ChangedFile] = []
    removed: list[ChangedFile] = []
    told: list[ChangedFile] = []
    at_ms = 0
    for line in data.splitlines():
        try:
            action = orjson.loads(line)
            for name, found in (("add", added), ("remove", removed), ("cdc", told)):
                if name in action and (name == "cdc" or action[name].get("dataChange", True)):
                    found.append(_file(action[name], name, handle, uri))
            at_ms = int((action.get("commitInfo") or {}).get("timestamp") or at_ms)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TableError(
                f"the log entry {uri} cannot be read: {error}",
                uri=uri,
                hint="restore the file from a backup or a bucket version",
            ) from error
    if told:
        return CommitChanges(files=told, at_ms=at_ms)
    return CommitChanges(files=[*removed, *added], removes=bool(removed), at_ms=at_ms)


def _file(action: Mapping[str, Any], name: str, handle: TableHandle, uri: str) -> ChangedFile:
    if action.get("deletionVector"):
        raise UnsupportedTable(
            f"the commit {uri} has deletion vectors, which are not read as changes",
            uri=handle.uri,
            hint="read the table as a snapshot, or turn delta.enableDeletionVectors off",
        )
    kinds: dict[str, Kind | None] = {"add": "insert", "remove": "delete", "cdc": None}
    values = action.get("partitionValues") or {}
    stats = orjson.loads(action["stats"]) if action.get("stats") else {}
    schema = handle.schema
    return ChangedFile(
        path=unquote(action["path"]),
        kind=kinds[name],
        partition={
            column: parsed_value(values.get(column), schema.field(column).type) for column in handle.partition_by
        },
        size_bytes=int(action.get("size") or 0),
        rows=stats.get("numRecords"),
    )
