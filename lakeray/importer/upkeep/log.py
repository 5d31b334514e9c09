"""The log of a table is kept short without taking away what an import or a RESTORE may still ask it.

Delta lets entries older than ``delta.logRetentionDuration`` go once a checkpoint is behind them. An import asks for
more: entries of batches that its ledger has not recorded, and those since its last look for RESTOREs, however old.
Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#metadata-cleanup
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from dataclasses import dataclass

import orjson

from lakeray.delta.again import again_on_conflict
from lakeray.delta.table import TableHandle, open_table, require_table
from lakeray.delta.vacuum import interval
from lakeray.errors import LakerayError, ObjectNotFound
from lakeray.failpoints import failpoint
from lakeray.importer.identity import ImportId
from lakeray.importer.recording.recovery import last_result
from lakeray.importer.result import Result
from lakeray.importer.unnest.record import parents
from lakeray.objects import join, open_store, relative

_ENTRY = re.compile(r"(?P<version>\d{20})\.(?P<kind>json|checkpoint[^/]*\.parquet|crc)$")
_IMPORT = re.compile(r"^(?P<pipeline>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?P<step>[^/]+)/")
_OVER = re.compile(r"/claims/(?P<number>\d{10})\.over$")
_THIRTY_DAYS_HOURS = 720


@dataclass(frozen=True, kw_only=True, slots=True)
class LogCleaned:
    """``kept_from`` is the oldest version that can still be read; ``held_back_by`` names the import because of which
    older entries stay, None where only their age counted.
    """

    deleted: int
    kept_from: int
    held_back_by: str | None = None


def write_checkpoint(uri: str) -> int:
    """Write a checkpoint of the newest version, so that opening needs no older entry; returns the version.

    Idempotent. Raises UnsupportedTable where lakeray may not write.
    """

    def work(handle: TableHandle) -> int:
        handle.check_writable()
        handle.delta.create_checkpoint()
        return handle.version

    return again_on_conflict(uri, "writing a checkpoint", work)


def clean_log(uri: str, *, now: dt.datetime) -> LogCleaned:
    """Delete the oldest entries of the log, up to a checkpoint that everything newer can be read from.

    An entry goes when it is older than the table keeps its log (default 30 days; never where
    ``delta.enableExpiredLogCleanup`` is false) and no import may ask for it. Oldest first: killed anywhere, the log is
    a shorter one without a hole.
    """
    handle = require_table(uri)
    handle.check_writable()
    entries = _entries(uri)
    oldest = oldest_entry(uri)
    if handle.properties.get("delta.enableExpiredLogCleanup", "true").strip().lower() == "false":
        return LogCleaned(deleted=0, kept_from=oldest)
    keep = interval(handle.properties.get("delta.logRetentionDuration"), hours=_THIRTY_DAYS_HOURS)
    young = [version for version, kind, at in entries.values() if kind == "json" and at >= now - keep]
    by_age = min([*young, handle.version])
    needed, who = needed_since(handle)
    base = max((point for point in _checkpoints(uri, entries) if point <= min(by_age, needed)), default=oldest)
    gone = sorted(name for name, (version, _, _) in entries.items() if version < base)
    store = open_store(uri)
    for name in gone:
        store.delete(name)
        failpoint("log_entry_deleted")
    return LogCleaned(deleted=len(gone), kept_from=max(base, oldest), held_back_by=who if needed < by_age else None)


def needed_since(handle: TableHandle) -> tuple[int, str | None]:
    """The oldest version that some import into this table may still ask the log about, with that import's name.

    An import looks for RESTOREs from where it looked last, and all batches that its ledger does not know are behind
    that. One without a readable ledger may ask for everything.
    """
    needed, who = handle.version + 1, None
    for pipeline, step in sorted(_imports(handle.uri)):
        result = _last_result(handle, pipeline, step)
        since = result.restores_checked + 1 if result is not None else 0
        if since < needed:
            needed, who = since, f"{pipeline}/{step}"
    for (pipeline, step), uri in sorted(parents(handle.properties).items()):
        since = _needed_as_child(handle, pipeline, step, uri)
        if since < needed:
            needed, who = since, f"{uuid.UUID(pipeline)}/{step}"
    return needed, who


def _last_result(handle: TableHandle, pipeline: str, step: str) -> Result | None:
    identity = ImportId(pipeline=uuid.UUID(pipeline), workflow="", step=step, table_uri=handle.uri, table_id=handle.id)
    try:
        return last_result(identity)
    except LakerayError:
        return None


def _needed_as_child(handle: TableHandle, pipeline: str, step: str, parent_uri: str) -> int:
    """Since which version the import that fills this child table may ask for its log."""
    parent = open_table(parent_uri)
    result = _last_result(parent, pipeline, step) if parent is not None else None
    found = [child.checked for child in result.children if child.table_id == handle.id] if result else []
    return found[0] + 1 if found else 0


def oldest_entry(uri: str) -> int:
    """The oldest version whose commit the log still has."""
    return min((version for version, kind, _ in _entries(uri).values() if kind == "json"), default=0)


def _imports(uri: str) -> set[tuple[str, str]]:
    """Pipelines and steps that have a folder in the table, without parts of a source whose claim is over."""
    root = join(uri, "_lakeray", "")
    found, over = set(), set()
    try:
        for page in open_store(uri).list(root):
            for name in page["uri"].to_pylist():
                match = _IMPORT.match(relative(name, root.rstrip("/")))
                if match:
                    found.add((match["pipeline"], match["step"]))
                    if ended := _OVER.search(name):
                        over.add((match["pipeline"], f"{match['step']}.{int(ended['number'])}"))
    except ObjectNotFound:
        return set()
    return found - over


def _entries(uri: str) -> dict[str, tuple[int, str, dt.datetime]]:
    """Version, kind (json, crc or checkpoint) and time of every entry of the log, by uri."""
    found = {}
    for page in open_store(uri).list(join(uri, "_delta_log", "")):
        for row in page.select(["uri", "modified_at"]).to_pylist():
            match = _ENTRY.search(row["uri"])
            if match:
                kind = match["kind"].partition(".")[0]
                found[row["uri"]] = (int(match["version"]), kind, row["modified_at"])
    return found


def _checkpoints(uri: str, entries: dict[str, tuple[int, str, dt.datetime]]) -> set[int]:
    """Versions with a whole checkpoint: up to the one that the log itself calls its last."""
    try:
        last = int(orjson.loads(open_store(uri).read(join(uri, "_delta_log", "_last_checkpoint")))["version"])
    except (ObjectNotFound, ValueError, KeyError):
        return set()
    found = {version for name, (version, kind, _) in entries.items() if kind == "checkpoint" and _single(name)}
    return {version for version in found if version <= last}


def _single(name: str) -> bool:
    """One file; of several parts nobody here can tell whether all are there."""
    return name.endswith(".checkpoint.parquet")
