"""A data file that is written but that no commit names yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lakeray.objects import join, open_store


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


def remove_staged(root_uri: str, files: Iterable[StagedFile]) -> None:
    """Delete files that no commit will ever name. Raises what the store raises."""
    store = open_store(root_uri)
    for file in files:
        store.delete(join(root_uri, file.path))
