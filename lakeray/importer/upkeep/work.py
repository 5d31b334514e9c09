"""What an optimize shall do, on what it works, what it did."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lakeray.delta.arrange.bins import LEAST_FILES, small_files
from lakeray.delta.arrange.tasks import Place
from lakeray.delta.files import DataFile
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.staged import StagedFile
from lakeray.delta.statistics import Indexed
from lakeray.delta.table import TableHandle
from lakeray.importer.executor import Executor
from lakeray.importer.upkeep.again import answers
from lakeray.spec.units import parse_size

TARGET_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimized:
    """What was done; ``version`` is the table's afterwards. ``given_up`` counts groups that another writer changed."""

    files_removed: int = 0
    files_added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0
    commits: int = 0
    given_up: int = 0
    version: int = 0


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What ``optimize`` shall do.

    ``target_bytes`` is the size of a data file (default: the table's ``delta.targetFileSize``, or 256 MiB). With
    ``z_order`` all rows of a partition are put in the order of these columns (nulls last), else small files are put
    together. ``least_files``: partitions with fewer small files are left alone. ``one_commit`` shows everything at
    once, at the price that a kill or a conflict loses more. ``options`` say how files look.
    """

    target_bytes: int | None = None
    z_order: tuple[str, ...] = ()
    least_files: int = LEAST_FILES
    one_commit: bool = False
    options: WriteOptions = field(default_factory=WriteOptions)
    memory_bytes: int = 512 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One call of ``optimize``, as its parts need it; ``target_bytes`` is settled."""

    place: Place
    wish: Wish
    target_bytes: int
    executor: Executor
    check: Callable[[], None]
    nonce: str

    @classmethod
    def on(cls, handle: TableHandle, wish: Wish, executor: Executor, check: Callable[[], None]) -> Work:
        """For the table as it is."""
        nonce = secrets.token_hex(6)
        target = wish.target_bytes or _asked_size(handle) or TARGET_BYTES
        options = WriteOptions(
            # A bin fits a file; twice the target keeps one that compresses worse from getting a second, tiny one.
            target_file_bytes=target if wish.z_order else 2 * target,
            # A file ends with a row group, so in order to end near the target groups may not be larger than that.
            row_group_bytes=min(wish.memory_bytes // 4, target) if wish.z_order else wish.memory_bytes // 4,
            compression=wish.options.compression,
            compression_level=wish.options.compression_level,
            indexed=Indexed.of_properties(handle.properties),
        )
        place = Place(
            uri=handle.uri,
            schema=handle.schema,
            partition_by=tuple(handle.partition_by),
            options=options,
            prefix=f"optimized-{nonce}",
            memory_bytes=wish.memory_bytes,
        )
        return cls(place=place, wish=wish, target_bytes=target, executor=executor, check=check, nonce=nonce)

    def wants(self, files: list[DataFile]) -> bool:
        """Whether a partition with these files is to be worked on."""
        least = self.wish.least_files
        return least <= LEAST_FILES or len(small_files(files, self.target_bytes)) >= least

    def answers(self, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """What the tasks say."""
        return answers(self.executor, tasks, doing=f"optimizing {self.place.uri}", check=self.check)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """New files for old ones: the rows are the same."""

    removes: tuple[DataFile, ...]
    adds: list[StagedFile]


def _asked_size(handle: TableHandle) -> int | None:
    """What the table itself says about the size of its files."""
    text = handle.properties.get("delta.targetFileSize", "")
    with suppress(ValueError):
        return int(text) if text.isdigit() else parse_size(text)
    return None
