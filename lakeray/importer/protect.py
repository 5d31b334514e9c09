"""Staged files that somebody may still commit, which no clean-up may touch."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta

from lakeray.delta.table import TableHandle, open_table, require_table
from lakeray.importer.identity import ImportId
from lakeray.importer.quarantine.table import BESIDE
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.unnest.record import parents
from lakeray.objects import join, open_store, relative

_NAME = re.compile(
    r"(?:^|/)part-(?P<pipeline>[0-9a-f]{32})-(?P<step>.+)-(?P<batch>\d{10})-[0-9a-f]{8}-t\d+-[^/]*\.parquet$"
)
_OWN_FOLDERS = ("_delta_log/", "_lakeray/")
STRANGER_AGE = timedelta(days=1)
"""A file that no import staged is of a compaction or of another engine; so long it may take until it is committed."""


def files_at_work(table_uri: str, *, now: datetime) -> set[str]:
    """Paths, relative to the table (or quarantine), of data files that a commit may still name.

    Those are the files of batches that no ledger has recorded yet, and files of unknown origin younger than
    ``STRANGER_AGE``. Files of recorded batches are either live or orphans for good: a batch number is never used
    twice. So ask after the candidates for deletion were listed, and look for live ones after this.
    """
    handle = require_table(table_uri)
    recorded: dict[tuple[str, str], int] = {}
    protected: set[str] = set()
    for page in open_store(table_uri).list(join(table_uri, "")):
        for uri, modified_at in zip(page["uri"].to_pylist(), page["modified_at"].to_pylist(), strict=True):
            path = relative(uri, table_uri)
            if path.startswith(_OWN_FOLDERS):
                continue
            found = _NAME.search(path)
            if found is None:
                if now - modified_at < STRANGER_AGE:
                    protected.add(path)
                continue
            key = (found["pipeline"], found["step"])
            if key not in recorded:
                recorded[key] = _recorded(handle, *key)
            if int(found["batch"]) > recorded[key]:
                protected.add(path)
    return protected


def _recorded(handle: TableHandle, pipeline: str, step: str) -> int:
    """The last batch that the import's ledger knows; it lies in the table, for a quarantine in the table beside, for a
    child table in the table whose lists it holds.
    """
    others = (handle.properties.get(BESIDE), parents(handle.properties).get((pipeline, step)))
    tables = [handle, *filter(None, (open_table(uri) for uri in others if uri))]
    known = [0]
    for each in tables:
        identity = ImportId(pipeline=uuid.UUID(pipeline), workflow="", step=step, table_uri=each.uri, table_id=each.id)
        known.append(Ledger(identity).recorded())
    return max(known)
