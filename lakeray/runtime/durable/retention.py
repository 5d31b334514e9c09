"""Runs that were over for long enough leave the state for Parquet files, so that it does not grow without end.

Files are written before runs are forgotten (``state/archive.py``): stopped anywhere, the next time archives the same
runs under the same names, then forgets them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakeray.config import Settings
from lakeray.errors import ObjectNotFound
from lakeray.importer.recording.summary import Summary
from lakeray.objects import absolute, join, open_store
from lakeray.runtime.durable import journal
from lakeray.state import EventStore
from lakeray.state.archive import Retention, archived_events, clean
from lakeray.workflow.events import Event

_HEAD = ["run_id", "workflow", "tenant", "state", "started_at", "ended_at", "parent"]
_SUFFIX = ".parquet"


class Archived(Summary):
    """What left the state: how many ``runs``, into which ``files`` below ``into``."""

    runs: int
    files: list[str]
    into: str


def archive_runs(store: EventStore, into: str, *, older_than_s: float, now: datetime) -> Archived:
    """Write runs that ended more than ``older_than_s`` seconds before ``now`` below the uri ``into``; forget them.

    Answers to commands that are as old are forgotten too. Raises ObjectError where they cannot be written, and then
    nothing is forgotten.
    """
    root, files = absolute(into), list[str]()

    def write(name: str, table: pa.Table) -> None:
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        uri = join(root, f"{name}{_SUFFIX}")
        open_store(root).put(uri, sink.getvalue())
        files.append(uri)

    kept = Retention(runs_s=older_than_s, answers_s=older_than_s)
    return Archived(runs=clean(store, kept, now=now, write=write), files=files, into=root)


def archived_runs(into: str) -> list[dict[str, Any]]:
    """The runs in an archive, the newest first. Raises ObjectError where it cannot be read."""
    found: dict[str, dict[str, Any]] = {}
    for table in _tables(into, _HEAD):
        for row in table.group_by(_HEAD).aggregate([]).to_pylist():
            found[row["run_id"]] = row
    return sorted(found.values(), key=lambda row: (row["started_at"], row["run_id"]), reverse=True)


def archived_history(into: str, run_id: str) -> list[Event]:
    """The events of an archived run, in order; empty when it is not there. Raises StateFormat for those of a later
    version.
    """
    tables = [table.filter(pc.equal(table["run_id"], run_id)) for table in _tables(into, None)]
    stored = archived_events(pa.concat_tables(tables)).get(run_id, []) if tables else []
    return list(journal.decoded(run_id, stored))


def _tables(into: str, columns: list[str] | None) -> Iterator[pa.Table]:
    root = absolute(into)
    store = open_store(root)
    try:
        pages = list(store.list(join(root, "")))
    except ObjectNotFound:
        return
    for uri in (uri for page in pages for uri in page["uri"].to_pylist() if uri.endswith(_SUFFIX)):
        yield pq.read_table(io.BytesIO(store.read(uri)), columns=columns)


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """The duty of `lakeray up` that keeps to ``LAKERAY_RETENTION``: now and then what is over for long is archived."""

    store: EventStore
    into: str
    older_than_s: float
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    name: str = "retention"
    every_s: float = 3600.0

    def tick(self) -> None:
        """Archive what is due."""
        archive_runs(self.store, self.into, older_than_s=self.older_than_s, now=self.now())


def keeping(store: EventStore, now: Callable[[], datetime]) -> list[Keeping]:
    """The duty, where this process's environment says how long runs are kept."""
    settings = Settings.from_env(os.environ)
    if settings.retention_s is None:
        return []
    return [Keeping(store=store, into=settings.archive, older_than_s=settings.retention_s, now=now)]
