"""Staged files that an open batch may still name, which no clean-up may touch."""

from __future__ import annotations

import re
import uuid

from lakeray.delta.table import open_table, require_table
from lakeray.importer.identity import ImportId
from lakeray.importer.ledger import Ledger
from lakeray.objects import open_store, relative
from lakeray.objects.uris import join

_NAME = re.compile(
    r"(?:^|/)part-(?P<pipeline>[0-9a-f]{32})-(?P<step>.+)-(?P<batch>\d{10})-[0-9a-f]{8}-t\d+-[^/]*\.parquet$"
)


def open_batch_files(table_uri: str) -> set[str]:
    """Paths, relative to the table, of staged files of batches that no ledger has recorded yet.

    Files of recorded batches are either live or orphans for good: a batch number is never used twice.
    """
    table_id = require_table(table_uri).id
    recorded: dict[tuple[str, str], int] = {}
    protected: set[str] = set()
    for page in open_store(table_uri).list(join(table_uri, "")):
        for uri in page["uri"].to_pylist():
            path = relative(uri, table_uri)
            found = _NAME.search(path)
            if path.startswith("_") or found is None:
                continue
            key = (found["pipeline"], found["step"])
            if key not in recorded:
                recorded[key] = _recorded(table_uri, table_id, *key)
            if int(found["batch"]) > recorded[key]:
                protected.add(path)
    return protected


def _recorded(table_uri: str, table_id: str, pipeline: str, step: str) -> int:
    identity = ImportId(pipeline=uuid.UUID(pipeline), workflow="", step=step, table_uri=table_uri, table_id=table_id)
    return Ledger(identity).recorded() if open_table(identity.ledger_uri) else 0
