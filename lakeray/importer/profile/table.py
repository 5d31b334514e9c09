"""A table is profiled: workers look at its files one stretch of rows at a time, their sketches are added up here."""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from lakeray.delta.arrange.bins import by_partition, shares, small_files
from lakeray.delta.arrange.tasks import Place
from lakeray.delta.files import DataFile, check_no_deletion_vectors, data_files
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.table import TableHandle, require_table
from lakeray.importer.executor import Executor, InlineExecutor
from lakeray.importer.profile.columns import column_profile
from lakeray.importer.profile.model import ColumnProfile, LayoutProfile, TableProfile
from lakeray.importer.profile.sketch import Sketch, Watcher
from lakeray.importer.upkeep.again import answers
from lakeray.importer.upkeep.work import TARGET_BYTES

_TASK_BYTES = 512 * 2**20
_MANY_SMALL = 10
_SKEWED = 4.0
_RESCUED = "_rescued_data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What one task saw: a sketch for each column, how many row groups there are."""

    columns: dict[str, Sketch]
    row_groups: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileTask:
    """Looks at some data files."""

    files: tuple[DataFile, ...]
    hidden: frozenset[str]
    place: Place

    def run(self) -> Iterator[Looked]:
        """One message."""
        random = np.random.default_rng(zlib.crc32(self.files[0].path.encode()))
        watchers = {
            item.name: Watcher(item.type, hidden=item.name in self.hidden, random=random) for item in self.place.schema
        }
        groups = 0
        for file in self.files:
            with self.place.scan(file.path, file.partition) as scan:
                groups += scan.row_groups
            for table in self.place.read(file.path, file.partition):
                for name, watcher in watchers.items():
                    watcher.watch(table.column(name))
        yield Looked(columns={name: watcher.told() for name, watcher in watchers.items()}, row_groups=groups)


def profile(
    uri: str,
    *,
    hidden: Collection[str] = (),
    target_bytes: int = TARGET_BYTES,
    memory_bytes: int = 512 * 2**20,
    executor: Executor | None = None,
    check: Callable[[], None] = lambda: None,
) -> TableProfile:
    """Look at every row of the newest version once.

    No value is shown of columns in ``hidden`` (masked by an import) and of those whose tags name ``pii``, nor of
    rescued data beside any such column. Raises UnsupportedTable for deletion vectors.
    """
    started = time.monotonic()
    handle = require_table(uri)
    check_no_deletion_vectors(handle)
    files = data_files(handle)
    secret = _hidden(handle, hidden)
    place = Place(
        uri=uri,
        schema=handle.schema,
        partition_by=tuple(handle.partition_by),
        options=WriteOptions(),
        prefix="unused",
        memory_bytes=memory_bytes,
    )
    runner = executor or InlineExecutor()
    runs = shares([file.size_bytes for file in files], runner.slots, at_most=_TASK_BYTES) if files else []
    tasks = [ProfileTask(files=tuple(files[at] for at in run), hidden=frozenset(secret), place=place) for run in runs]
    columns, groups = {item.name: Sketch() for item in handle.schema}, 0
    for _, looked in answers(runner, tasks, doing=f"profiling {uri}", check=check):
        groups += looked.row_groups
        for name, sketch in looked.columns.items():
            columns[name] += sketch
    rows = max((sketch.rows for sketch in columns.values()), default=0)
    return TableProfile(
        uri=uri,
        version=handle.version,
        rows=rows,
        columns=[_column(item, columns[item.name], secret) for item in handle.schema],
        layout=_layout(files, target_bytes, rows=rows, groups=groups),
        duration_s=time.monotonic() - started,
    )


def _column(item: pa.Field, sketch: Sketch, secret: Mapping[str, str]) -> ColumnProfile:
    return column_profile(item.name, item.type, sketch, secret.get(item.name))


def _hidden(handle: TableHandle, masked: Collection[str]) -> dict[str, str]:
    """Why values of columns are not shown, by column."""
    lower = {name.casefold() for name in masked}
    found = {name: "masked by an import" for name in handle.schema.names if name.casefold() in lower}
    for column in orjson.loads(handle.delta.schema().to_json())["fields"]:
        tags = str((column.get("metadata") or {}).get("lakeray.tags", ""))
        if "pii" in [tag.strip().casefold() for tag in tags.split(",")]:
            found.setdefault(column["name"], "tagged pii")
    if found and _RESCUED in handle.schema.names:
        found.setdefault(_RESCUED, "may hold values of columns that are not shown")
    return found


def _layout(files: list[DataFile], target_bytes: int, *, rows: int, groups: int) -> LayoutProfile:
    sizes = [file.size_bytes for file in files]
    small = small_files(files, target_bytes)
    partitions = by_partition(files)
    found: dict[str, Any] = {}
    notes = []
    crowded = max((len(small_files(group, target_bytes)) for group in partitions), default=0)
    if crowded >= _MANY_SMALL:
        notes.append(f"{crowded} small files lie in one partition: `lakeray tables optimize` puts them together")
    if len(partitions) > 1:
        largest = max(partitions, key=lambda group: sum(file.size_bytes for file in group))
        share = sum(file.size_bytes for file in largest) / max(1, sum(sizes))
        values = largest[0].partition_values
        found["largest_partition"] = "/".join(f"{name}={value}" for name, value in values.items())
        found["largest_share"] = share
        if share * len(partitions) >= _SKEWED:
            notes.append(f"the largest partition is {share * len(partitions):.1f} times as large as the mean")
    return LayoutProfile(
        files=len(files),
        size_bytes=sum(sizes),
        smallest_bytes=min(sizes, default=0),
        median_bytes=int(statistics.median(sizes)) if sizes else 0,
        largest_bytes=max(sizes, default=0),
        small_files=len(small),
        target_bytes=target_bytes,
        row_groups=groups or None,
        rows_a_group=rows // groups if groups else None,
        partitions=max(1, len(partitions)),
        notes=notes,
        **found,
    )
