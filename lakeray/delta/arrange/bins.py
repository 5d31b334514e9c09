"""Which small files are put together is decided here, so that a file is rarely rewritten twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lakeray.delta.files import DataFile

SMALL_SHARE = 2
"""A file is small below this fraction (one half) of the target. Two neighbouring bins hold more than the target
together, so that all but a partition's last come out at more than half of it and are never touched again."""

LEAST_FILES = 2
"""A single file is as well put together as it can be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Files of one partition whose rows go into new files; ``size_bytes`` is on disk."""

    files: tuple[DataFile, ...]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


def small_files(files: Iterable[DataFile], target_bytes: int) -> list[DataFile]:
    """Those that are worth putting together."""
    return [file for file in files if file.size_bytes * SMALL_SHARE < target_bytes]


def bins(files: Iterable[DataFile], target_bytes: int) -> list[Bin]:
    """Small files of one partition in bins of at most ``target_bytes``, each of at least two files.

    Next fit (Johnson 1973) in the order of the names, which is the order of the batches that wrote them: rows that came
    together stay together, so that the bounds of columns that grow with time stay narrow. Best fit would fill bins
    better, but mix the old with the new.
    """
    found: list[Bin] = []
    for group in by_partition(small_files(files, target_bytes)):
        open_bin: list[DataFile] = []
        size = 0
        for file in sorted(group, key=lambda one: one.path):
            if size + file.size_bytes > target_bytes:
                found.append(Bin(files=tuple(open_bin)))
                open_bin, size = [], 0
            open_bin.append(file)
            size += file.size_bytes
        found.append(Bin(files=tuple(open_bin)))
    return [one for one in found if len(one.files) >= LEAST_FILES]


def by_partition(files: Iterable[DataFile]) -> list[list[DataFile]]:
    """The files of each partition."""
    groups: dict[tuple[str | None, ...], list[DataFile]] = {}
    for file in files:
        groups.setdefault(tuple(file.partition_values.values()), []).append(file)
    return list(groups.values())


def shares(sizes: Sequence[int], slots: int, *, at_most: int) -> list[list[int]]:
    """Places of ``sizes`` in runs that keep their order: a few runs for each slot, of at most ``at_most`` bytes each
    but for single large ones.
    """
    limit = max(1, min(at_most, sum(sizes) // max(1, slots)))
    runs: list[list[int]] = []
    held = 0
    for place, size in enumerate(sizes):
        if not runs or held + size > limit:
            runs.append([])
            held = 0
        runs[-1].append(place)
        held += size
    return runs
