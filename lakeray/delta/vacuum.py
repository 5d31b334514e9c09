"""Files that no version within the retention needs are found and deleted here, and none that somebody may still commit.

Five kinds: data files that commits removed before the retention, data files that no commit names (left by attempts that
died), change data files of versions before the retention, scratch files of an ``optimize``, and what killed writers
left of a local file.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

import orjson

from lakeray.delta.again import again_on_conflict
from lakeray.delta.files import data_files
from lakeray.delta.log import commit_uri, read_back
from lakeray.delta.table import TableHandle, require_table
from lakeray.errors import ObjectNotFound, TableError
from lakeray.objects import join, open_store, relative
from lakeray.objects.leftovers import leftovers

Kind = Literal["removed", "orphan", "change_data", "scratch", "leftover"]
SCRATCH = "_lakeray/optimize/"
CHANGE_DATA = "_change_data/"
ABANDONED = dt.timedelta(days=1)
"""Scratch and temporary files that nobody has written to for so long have no writer any more, whatever retention is
asked for.
"""
_WEEK_HOURS = 168
_INTERVAL = re.compile(r"interval\s+(?P<count>\d+)\s+(?P<unit>week|day|hour|minute|second)s?", re.IGNORECASE)
_SECONDS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class StaleFile:
    """A file that can go; ``path`` is relative to the table, ``size_bytes`` 0 where it is not known."""

    path: str
    kind: Kind
    size_bytes: int = 0


def vacuum(
    uri: str,
    retention_hours: int | None = None,
    *,
    dry_run: bool = True,
    protected: Collection[str] | Callable[[], Collection[str]] = (),
    now: dt.datetime | None = None,
) -> list[StaleFile]:
    """Delete (unless ``dry_run``) what nobody needs; returns what that is, each file once.

    ``retention_hours`` counts from the commit that removed a file, or from the writing of one that no commit names
    (default: the table's ``delta.deletedFileRetentionDuration``, or a week). Paths in ``protected`` (staged, not yet
    committed) stay, as do the log, ``_lakeray/`` and everything that is not Parquet. A retention shorter than the
    longest running batch can delete what that batch is about to commit, unless ``protected`` names it. Raises
    UnsupportedTable where lakeray may not write, CommitConflict when other writers never left a gap.
    """
    if retention_hours is not None and retention_hours < 0:
        raise TableError(f"a retention of {retention_hours} hours is not possible", uri=uri, hint="say 0 hours or more")
    now = now or dt.datetime.now(dt.UTC)
    listed = _Listing(uri)
    removed = _by_delta_rs(uri, retention_hours, dry_run=dry_run, full=False)
    removed = [path for path in removed if path in listed.files]  # it names files that are long gone, too
    found = {path: StaleFile(path=path, kind="removed", size_bytes=listed.size(path)) for path in removed}
    candidates = [path for path in _by_delta_rs(uri, retention_hours, dry_run=True, full=True) if _is_data(path)]
    changes = _old_changes(uri, listed, before=now - _retention(require_table(uri), retention_hours))
    # Only after the candidates were listed: a file that was staged in between must be known as such.
    kept = set(protected() if callable(protected) else protected)
    live = {file.path for file in data_files(require_table(uri))}  # or committed in between
    orphans, old = sorted({*candidates} - kept - live - found.keys()), sorted({*changes} - kept)
    unnamed = [
        *(StaleFile(path=path, kind="orphan", size_bytes=listed.size(path)) for path in orphans),
        *(StaleFile(path=path, kind="change_data", size_bytes=listed.size(path)) for path in old),
        *_abandoned(uri, listed, before=now - ABANDONED),
    ]
    if not dry_run:
        store = open_store(uri)
        for file in unnamed:
            store.delete(join(uri, file.path))
    return [*found.values(), *unnamed]


class _Listing:
    """Sizes and times of everything below the table but its log."""

    def __init__(self, uri: str) -> None:
        self.files: dict[str, tuple[int, dt.datetime]] = {}
        for page in open_store(uri).list(join(uri, "")):
            for row in page.select(["uri", "size", "modified_at"]).to_pylist():
                path = relative(row["uri"], uri)
                if not path.startswith("_delta_log/"):
                    self.files[path] = (row["size"], row["modified_at"])

    def size(self, path: str) -> int:
        """In bytes."""
        return self.files[path][0] if path in self.files else 0

    def below(self, folder: str, *, before: dt.datetime) -> list[str]:
        """Files there that were written before that."""
        return [path for path, (_, at) in self.files.items() if path.startswith(folder) and at < before]


def _by_delta_rs(uri: str, retention_hours: int | None, *, dry_run: bool, full: bool) -> list[str]:
    def work(handle: TableHandle) -> list[str]:
        handle.check_writable()
        found = handle.delta.vacuum(
            retention_hours=retention_hours, dry_run=dry_run, enforce_retention_duration=False, full=full
        )
        return [str(path) for path in found]

    return list(dict.fromkeys(again_on_conflict(uri, "vacuuming", work)))


def _is_data(path: str) -> bool:
    hidden = any(part.startswith(("_", ".")) and "=" not in part for part in path.split("/"))
    return path.endswith(".parquet") and not hidden


def _retention(handle: TableHandle, hours: int | None) -> dt.timedelta:
    if hours is None:
        return interval(handle.properties.get("delta.deletedFileRetentionDuration"), hours=_WEEK_HOURS)
    return dt.timedelta(hours=hours)


def interval(text: str | None, *, hours: int) -> dt.timedelta:
    """A duration as table properties spell it (``interval 30 days``); ``hours`` where there is none that is known."""
    found = _INTERVAL.fullmatch((text or "").strip())
    if found is None:
        return dt.timedelta(hours=hours)
    return dt.timedelta(seconds=int(found["count"]) * _SECONDS[found["unit"].lower()])


def _old_changes(uri: str, listed: _Listing, *, before: dt.datetime) -> list[str]:
    """Change data files that no commit since ``before`` names."""
    candidates = listed.below(CHANGE_DATA, before=before)
    if not candidates:
        return []
    named: set[str] = set()
    for commit in read_back(uri, require_table(uri).version):
        if int(commit.info.get("timestamp", 0)) < before.timestamp() * 1000:
            break
        named |= _changes_of(uri, commit.version)
    return [path for path in candidates if path not in named]


def _changes_of(uri: str, version: int) -> set[str]:
    """The change data files that a commit names."""
    name = commit_uri(uri, version)
    try:
        lines = open_store(uri).read(name).splitlines()
    except ObjectNotFound:
        return set()
    actions = (orjson.loads(line) for line in lines if b'"cdc"' in line[:16])
    return {unquote(action["cdc"]["path"]) for action in actions}


def _abandoned(uri: str, listed: _Listing, *, before: dt.datetime) -> list[StaleFile]:
    scratch = [
        StaleFile(path=path, kind="scratch", size_bytes=listed.size(path))
        for path in sorted(listed.below(SCRATCH, before=before))
    ]
    left = leftovers(uri, older_than=before)
    return scratch + [
        StaleFile(path=relative(name, uri), kind="leftover", size_bytes=size) for name, size in sorted(left.items())
    ]
