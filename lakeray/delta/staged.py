"""A data file that is written but that no commit names yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedFile:
    """What a Delta add action needs to know about a Parquet file.

    ``path`` is relative to the table, raw (not percent-encoded); ``partition_values`` are in the Delta protocol's
    string form, None for null; ``stats`` is the protocol's JSON text (numRecords, minValues, maxValues, nullCount),
    taken from the written footer.
    """

    path: str
    size_bytes: int
    rows: int
    partition_values: dict[str, str | None]
    modified_ms: int
    stats: str
