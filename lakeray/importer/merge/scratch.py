"""What one batch of changes keeps on disk between its tasks.

Staged changes, changes in order, and rows that were taken out of the table lie below the import's folder under names
of one attempt. No commit names any of it; what a crash leaves is removed once its batch is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lakeray.errors import ObjectError, ObjectNotFound
from lakeray.importer.identity import ImportId
from lakeray.objects import join, open_store, relative

_BATCH = re.compile(r"(?:^|/)part-[0-9a-f]{32}-.+-(?P<batch>\d{10})-[0-9a-f]{8}-")
_ROW_GROUP = 250_000


def scratch_uri(identity: ImportId) -> str:
    """The folder of all attempts of an import."""
    return join(identity.folder, "changes")


class ScratchWriter:
    """One Parquet file of rows on their way between tasks; no file without rows. After an error call ``discard``."""

    def __init__(self, root: str, path: str) -> None:
        self._uri = join(root, path)
        self.path = path
        self.rows = 0
        self._sink: Any = None
        self._parquet: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append rows, of one schema."""
        if not table.num_rows:
            return
        if self._parquet is None:
            self._sink = open_store(self._uri).open_write(self._uri)
            # Read once or twice, soon: speed counts, not size.
            self._parquet = pq.ParquetWriter(
                self._sink, table.schema, compression="lz4", use_dictionary=False, write_statistics=False
            )
        self._parquet.write_table(table, row_group_size=_ROW_GROUP)
        self.rows += table.num_rows

    def close(self) -> str | None:
        """End the file; its path, None when there were no rows."""
        if self._parquet is None:
            return None
        self._parquet.close()
        self._sink.close()
        return self.path

    def discard(self) -> None:
        """Leave nothing behind, as far as that is possible."""
        if self._sink is not None:
            with suppress(Exception):
                getattr(self._sink, "discard", self._sink.close)()


def read_scratch(
    root: str, paths: Sequence[str], *, columns: Sequence[str] | None = None, rows: int = _ROW_GROUP
) -> Iterator[pa.Table]:
    """The rows of scratch files, at most ``rows`` at a time."""
    for path in paths:
        uri = join(root, path)
        with open_store(uri).open(uri) as file:
            parquet = pq.ParquetFile(file)
            for batch in parquet.iter_batches(
                batch_size=rows, columns=None if columns is None else list(columns), use_threads=False
            ):
                yield pa.Table.from_batches([batch])


def remove(root: str, paths: Sequence[str]) -> None:
    """Delete scratch files that nobody needs any more; one that cannot be deleted now is found later."""
    for path in paths:
        with suppress(ObjectError, OSError):
            open_store(root).delete(join(root, path))


def remove_recorded(identity: ImportId, batch: int) -> None:
    """Delete what attempts at batches up to ``batch``, which the ledger has recorded, left behind."""
    root = scratch_uri(identity)
    try:
        found = [uri for page in open_store(root).list(join(root, "")) for uri in page["uri"].to_pylist()]
    except ObjectNotFound:
        return
    paths = [relative(uri, root) for uri in found]
    remove(root, [path for path in paths if (match := _BATCH.search(path)) and int(match["batch"]) <= batch])
