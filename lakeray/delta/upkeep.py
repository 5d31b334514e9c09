"""A Delta table is looked into and kept in shape here, beside running imports and without harm to them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa

from lakeray.delta.again import again_on_conflict
from lakeray.delta.failures import is_conflict, is_foreign
from lakeray.delta.log import LogCommit, read_back, read_commit
from lakeray.delta.table import TableHandle, require_table
from lakeray.errors import ExactlyOnceError, TableError
from lakeray.objects import delta_uri, open_store, storage_options


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One commit of a table. ``metadata`` holds what lakeray wrote beside the data."""

    version: int
    at: dt.datetime
    operation: str
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    engine: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restore:
    """Commit ``at_version`` set the table back to ``to_version``: what was committed between them is gone."""

    at_version: int
    to_version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveFile:
    """A data file of the newest version; ``path`` is relative to the table, ``rows`` None without statistics."""

    path: str
    size_bytes: int
    rows: int | None
    partition_values: dict[str, Any]


def _entry(commit: LogCommit) -> HistoryEntry:
    info = commit.info
    moment = dt.datetime.fromtimestamp(int(info.get("timestamp", 0)) / 1000, tz=dt.UTC)
    return HistoryEntry(
        version=commit.version,
        at=moment,
        operation=str(info.get("operation", "unknown")),
        parameters=dict(info.get("operationParameters") or {}),
        metrics=dict(info.get("operationMetrics") or {}),
        metadata=commit.metadata(),
        engine=str(info.get("engineInfo", "")),
    )


def history(uri: str, limit: int | None = 100) -> list[HistoryEntry]:
    """The newest commits, newest first, as far as the log still holds them; at most ``limit``."""
    found: list[HistoryEntry] = []
    for commit in read_back(uri, require_table(uri).version):
        if limit is not None and len(found) >= limit:
            break
        found.append(_entry(commit))
    return found


def restores_since(
    uri: str, version: int, *, lost_log: Literal["raise", "ignore"] = "raise", upto: int | None = None
) -> list[Restore]:
    """The RESTOREs among the commits after ``version`` (to ``upto``, default the newest), oldest first.

    Raises ExactlyOnceError when the log no longer reaches back to ``version``, unless ``lost_log`` says to make do
    with what is there.
    """
    newest = require_table(uri).version if upto is None else upto
    store = open_store(uri)
    found: list[Restore] = []
    for number in range(newest, version, -1):
        commit = read_commit(uri, number, store=store)
        if commit is None:
            if lost_log == "ignore":
                break
            raise ExactlyOnceError(
                f"the log of {uri} was cleaned up beyond version {version}: a RESTORE since then cannot be ruled out",
                uri=uri,
                hint="compare the table with its source, then say `on_restore: keep`",
            )
        if commit.info.get("operation") == "RESTORE":
            found.append(Restore(at_version=number, to_version=_target(uri, commit)))
    return found[::-1]


def _target(uri: str, commit: LogCommit) -> int:
    """The version that a RESTORE went back to.

    One that names a time does not say which version that was (engines go by clocks that differ), so the newest
    earlier version with exactly the files that it left is taken.
    """
    asked = commit.info.get("operationParameters") or {}
    if asked.get("version") not in (None, "", "null"):
        return int(asked["version"])
    try:
        left = _paths_at(uri, commit.version)
        for version in range(commit.version - 1, -1, -1):
            if _paths_at(uri, version) == left:
                return version
    except Exception as error:
        if not is_foreign(error):
            raise
    raise ExactlyOnceError(
        f"the RESTORE in version {commit.version} of {uri} does not say what it went back to",
        uri=uri,
        hint="compare the table with its source, then say `on_restore: keep`",
    )


def _paths_at(uri: str, version: int) -> frozenset[str]:
    """The data files of one version."""
    from deltalake import DeltaTable

    table = DeltaTable(delta_uri(uri), version=version, storage_options=storage_options(uri))
    return frozenset(pa.table(table.get_add_actions())["path"].to_pylist())


def live_files(uri: str) -> list[LiveFile]:
    """The data files of the newest version."""
    return _live(require_table(uri))


def _live(handle: TableHandle) -> list[LiveFile]:
    adds = pa.table(handle.delta.get_add_actions())
    return [
        LiveFile(
            path=unquote(row["path"]),  # the log holds it percent-encoded
            size_bytes=row["size_bytes"],
            rows=row.get("num_records"),
            partition_values=row.get("partition") or row.get("partition_values") or {},
        )
        for row in adds.select(
            [name for name in adds.column_names if name not in ("min", "max", "null_count")]
        ).to_pylist()
    ]


def delete_rows(uri: str, where: str) -> int:
    """Delete the rows for which the SQL ``where`` holds; how many. Raises CommitConflict when others leave no gap."""
    from deltalake import CommitProperties

    def work(handle: TableHandle) -> int:
        handle.check_writable("overwrite")
        # A remove may not be replayed on a newer version: what it removes was read from this one.
        done = handle.delta.delete(where, commit_properties=CommitProperties(max_commit_retries=0))
        return int(done["num_deleted_rows"])

    return again_on_conflict(uri, "deleting rows", work)


def _refuse_absent(handle: TableHandle, version: int) -> None:
    """Raise TableError, with the versions that there are, when ``version`` cannot be gone back to."""
    versions = [commit.version for commit in read_back(handle.uri, handle.version)]
    oldest = versions[-1] if versions else handle.version
    if oldest <= version <= handle.version:
        return
    why = "its log does not hold it any more" if 0 <= version < oldest else f"the newest is {handle.version}"
    raise TableError(
        f"the table at {handle.uri} has no version {version}: {why}",
        uri=handle.uri,
        hint=f"versions {oldest} to {handle.version} are there: `lakeray tables history` lists them",
    )


def restore(uri: str, target: int | dt.datetime) -> int:
    """Set the table back to a version, or to what it was at a moment (naive: UTC); returns the version that this makes.

    Raises TableError when that version is not there or its files were vacuumed. An import sees the RESTORE and acts
    on ``on_restore``.
    """

    def work(handle: TableHandle) -> int:
        handle.check_writable("overwrite")
        version = _version_at(handle, target) if isinstance(target, dt.datetime) else target
        try:
            handle.delta.restore(version)
        except Exception as error:
            if is_conflict(error):
                raise
            if "missing file" not in str(error).lower():
                _refuse_absent(handle, version)
                raise
            raise TableError(
                f"{uri} cannot be restored to {target}: files of that version are gone ({str(error)[:300]})",
                uri=uri,
                hint="they were vacuumed: restore to a newer version (`lakeray tables history`), or import again",
            ) from error
        return require_table(uri).version

    return again_on_conflict(uri, f"restoring it to {target}", work)


def _version_at(handle: TableHandle, moment: dt.datetime) -> int:
    """The last version that was committed by then, by the times in the commits."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    for commit in read_back(handle.uri, handle.version):
        if int(commit.info.get("timestamp", 0)) <= moment.timestamp() * 1000:
            return commit.version
    raise TableError(
        f"{handle.uri} cannot be restored to {moment}: its log does not reach back to then",
        uri=handle.uri,
        hint="see `lakeray tables history` for the versions that are there",
    )
