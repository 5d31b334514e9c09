"""A lake of millions of objects that exist only as a listing, with the ledger of an import that loaded most of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.data_parquet import EPOCH_US
from benchmarks.hashing import mixed

PREFIX = "s3://bench-lake/raw/orders/"
_TEMPLATE = "s3://bench-lake/raw/orders/day=0000/part-000000000.json.gz"
_DAY, _NUMBER = 31, 41
"""Where in the template the four digits of the day, the nine of the number begin."""
_PER_DAY = 10_000
NEW_EVERY = 100
"""With new objects, the one hundredth of each hundred is new."""
PAGE = 10_000
LEDGER_BATCH = 100_000
_HEX = np.array([list(f"{value:02x}".encode()) for value in range(256)], dtype=np.uint8)


class GeneratedStore:
    """The ``list`` of the ObjectStore port over ``count`` objects that nobody ever wrote."""

    def __init__(self, count: int) -> None:
        self._count = count

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[pa.RecordBatch]:
        """Pages of 10,000 objects, ascending by uri."""
        from lakeray.objects import LISTING

        first = 0 if start_after is None else int(start_after[_NUMBER : _NUMBER + 9]) + 1
        for start in range(first, self._count, PAGE):
            numbers = np.arange(start, min(start + PAGE, self._count), dtype=np.int64)
            yield pa.RecordBatch.from_pydict(objects(numbers), schema=LISTING)


def objects(numbers: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
    """The listing's columns for the objects of these numbers."""
    hashes = mixed(numbers.astype(np.uint64), 51)
    return {
        "uri": _uris(numbers),
        "size": pa.array((hashes % np.uint64(1 << 20)).astype(np.int64) + 1000),
        "etag": _hexadecimal(hashes, mixed(hashes, 52)),
        "version_id": pa.nulls(len(numbers), pa.string()),
        "modified_at": pa.array(EPOCH_US + numbers * 1000).cast(pa.timestamp("us", tz="UTC")),
    }


def ensure_ledger(folder: Path, count: int) -> Path:
    """A table whose ledger holds ``count`` loaded objects, in commits of 100,000; made once. Its folder."""
    place = folder / f"ledger-{count}-v1"
    done = place / "done.json"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _build(place / "table", count)
        done.write_text(json.dumps({"objects": count}))
    return place / "table"


def identity(table: Path) -> Any:
    """Who the import is whose ledger it is."""
    from lakeray.delta.table import require_table
    from lakeray.importer.identity import ImportId, pipeline_id

    handle = require_table(str(table))
    return ImportId(
        pipeline=pipeline_id("bench", "bench"),
        workflow="bench",
        step="ingest",
        table_uri=str(table),
        table_id=handle.id,
    )


def known_numbers(count: int) -> npt.NDArray[np.int64]:
    """The numbers of ``count`` objects such that one of a hundred in between is left out."""
    positions = np.arange(count, dtype=np.int64)
    return positions + positions // (NEW_EVERY - 1)


def _build(table: Path, count: int) -> None:
    from lakeray.delta.commit import record_rows
    from lakeray.delta.table import create_table
    from lakeray.importer.recording.ledger import SCHEMA

    create_table(str(table), pa.schema([("id", pa.int64())]), partition_by=[], properties={})
    owner = identity(table)
    create_table(owner.ledger_uri, SCHEMA, partition_by=[], properties={"lakeray.app_id": owner.app_id})
    numbers = known_numbers(count)
    for batch, start in enumerate(range(0, count, LEDGER_BATCH), start=1):
        rows = _ledger_rows(numbers[start : start + LEDGER_BATCH], batch, SCHEMA)
        record_rows(
            owner.ledger_uri,
            rows,
            app_id=owner.ledger_app_id,
            number=batch,
            previous=batch - 1,
            dense=True,
            prefix="ledger",
        )


def _ledger_rows(numbers: npt.NDArray[np.int64], batch: int, schema: pa.Schema) -> pa.Table:
    count = len(numbers)
    same: dict[str, Any] = {
        "batch": batch,
        "outcome": "loaded",
        "tries": 0,
        "table_version": batch,
        "run_id": f"run-{batch:012d}",
        "recorded_at": datetime(2024, 6, 1, tzinfo=UTC),
    }
    columns = objects(numbers)
    columns["bytes"] = columns["size"]
    columns["rows_read"] = columns["rows_written"] = pa.array(numbers % 5000)
    for field in schema:
        if field.name not in columns:
            zero = 0 if field.name.startswith("rows_") else None
            columns[field.name] = pa.repeat(pa.scalar(same.get(field.name, zero), field.type), count)
    return pa.table({field.name: columns[field.name] for field in schema}, schema=schema)


def _uris(numbers: npt.NDArray[np.int64]) -> pa.Array:
    letters = np.tile(np.frombuffer(_TEMPLATE.encode(), dtype=np.uint8), (len(numbers), 1))
    _digits(letters, _DAY, 4, numbers // _PER_DAY)
    _digits(letters, _NUMBER, 9, numbers)
    return _texts(letters)


def _digits(letters: npt.NDArray[np.uint8], start: int, width: int, values: npt.NDArray[np.int64]) -> None:
    rest = values
    for place in range(start + width - 1, start - 1, -1):
        letters[:, place] = 48 + rest % 10
        rest = rest // 10


def _hexadecimal(*parts: npt.NDArray[np.uint64]) -> pa.Array:
    octets = np.ascontiguousarray(np.stack(parts, axis=1)).view(np.uint8)
    return _texts(_HEX[octets].reshape(len(octets), -1))


def _texts(letters: npt.NDArray[np.uint8]) -> pa.Array:
    """Texts of equal length, straight from their letters."""
    count, width = letters.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(letters))]
    return pa.Array.from_buffers(pa.string(), count, buffers)
