"""Rows of a table are brought into Z-order, partition by partition, in the memory of its tasks.

A partition that fits a task is sorted there. Of a larger one a sample says how the curve falls into ranges that fit;
its rows are dealt out to scratch files by range, and each range is sorted by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pyarrow as pa

from lakeray.delta.arrange.bins import by_partition, shares
from lakeray.delta.arrange.tasks import RANGE, Piece, Sample, SampleTask, SortTask, SplitTask
from lakeray.delta.arrange.zorder import column_cuts, places, range_cuts
from lakeray.delta.files import DataFile
from lakeray.delta.staged import StagedFile
from lakeray.errors import ObjectError, ObjectNotFound
from lakeray.importer.upkeep.work import Group, Work
from lakeray.objects import join, open_store

SCRATCH = "_lakeray/optimize"
_SAMPLE_ROWS = 2_000_000
"""Of all partitions together; so many places on the curve fit any driver."""
_FEWEST_SAMPLED, _MOST_SAMPLED = 1_024, 65_536
_PART_SHARE = 8
"""Of a task's memory, the rows that are sorted at once take this fraction; they are there twice for a moment, beside
the writer's row group."""
_ROW_BYTES = 32
_TASK_BYTES = 256 * 2**20


def sorted_groups(work: Work, files: list[DataFile]) -> Iterator[Group]:
    """One group for each partition, but for those with fewer small files than was asked for."""
    partitions = [group for group in by_partition(files) if work.wants(group)]
    if not partitions:
        return
    samples = _samples(work, partitions)
    limit = max(1, work.place.memory_bytes // _PART_SHARE)
    small = [number for number, sample in enumerate(samples) if sample.rows * sample.row_bytes <= limit]
    tasks = [
        SortTask(
            number=number,
            parts=(tuple(Piece(path=file.path, partition=file.partition) for file in partitions[number]),),
            cuts=column_cuts(samples[number].table, work.wish.z_order),
            place=work.place,
        )
        for number in small
    ]
    for _, told in work.answers(tasks):
        for found in told:
            yield Group(removes=tuple(partitions[found.number]), adds=found.adds)
    for number in sorted(set(range(len(partitions))) - set(small)):
        yield _large(work, partitions[number], samples[number], limit)


def _samples(work: Work, partitions: list[list[DataFile]]) -> list[Sample]:
    """A sample of each partition, with how many rows of how many bytes it has."""
    wanted = min(_MOST_SAMPLED, max(_FEWEST_SAMPLED, _SAMPLE_ROWS // len(partitions)))
    numbered = [(number, file) for number, files in enumerate(partitions) for file in files]
    rows = [sum(_rows(file) for file in files) for files in partitions]
    runs = shares([file.size_bytes for _, file in numbered], work.executor.slots, at_most=_TASK_BYTES)
    tasks = [
        SampleTask(
            files=tuple(numbered[place] for place in run),
            columns=work.wish.z_order,
            share=tuple(min(1.0, wanted / max(1, rows[numbered[place][0]])) for place in run),
            place=work.place,
        )
        for run in runs
    ]
    found: list[list[Sample]] = [[] for _ in partitions]
    for _, told in work.answers(tasks):
        for sample in told:
            found[sample.number].append(sample)
    return [_together(samples) for samples in found]


def _rows(file: DataFile) -> int:
    """As the log says, or a guess: it only decides how large the sample is."""
    return file.size_bytes // _ROW_BYTES if file.rows is None else file.rows


def _together(samples: list[Sample]) -> Sample:
    return Sample(
        number=samples[0].number,
        table=pa.concat_tables([sample.table for sample in samples]),
        rows=sum(sample.rows for sample in samples),
        row_bytes=max(sample.row_bytes for sample in samples),
    )


def _large(work: Work, files: list[DataFile], sample: Sample, limit: int) -> Group:
    """A partition that no task could hold."""
    cuts = column_cuts(sample.table, work.wish.z_order)
    # Ranges of half of what fits: a sample only says about how large they become.
    count = max(2, int(sample.rows * sample.row_bytes * 2 // limit) + 1)
    scratch = join(work.place.uri, SCRATCH, work.nonce)
    ends = range_cuts(places(sample.table, cuts), count)
    runs = shares([file.size_bytes for file in files], work.executor.slots, at_most=_TASK_BYTES)
    splits = [
        SplitTask(
            files=tuple(files[place] for place in run), cuts=cuts, range_cuts=ends, place=work.place, scratch=scratch
        )
        for run in runs
    ]
    scratched: list[StagedFile] = []
    try:
        for _, told in work.answers(splits):
            scratched += told
        adds: list[StagedFile] = []
        rows = 0
        for _, told in work.answers(_sorts(work, scratched, count, cuts, scratch)):
            adds += told[0].adds
            rows += told[0].rows
        assert rows == sample.rows, f"{sample.rows} rows became {rows}"
    finally:
        _remove(scratch)
    return Group(removes=tuple(files), adds=adds)


def _sorts(
    work: Work, scratched: list[StagedFile], count: int, cuts: dict[str, pa.Array], scratch: str
) -> list[SortTask]:
    """Ranges that follow each other in one task until its files reach the target: files stay large however small a
    task's memory is.
    """
    ranges: list[list[StagedFile]] = [[] for _ in range(count)]
    for file in scratched:
        ranges[int(file.partition_values[RANGE] or 0)].append(file)
    sizes = [sum(file.size_bytes for file in files) for files in ranges]
    runs = shares(sizes, 1, at_most=work.target_bytes)
    return [
        SortTask(
            number=0,
            parts=tuple(
                tuple(Piece(path=file.path, partition={}, scratch=scratch) for file in ranges[place]) for place in run
            ),
            cuts=cuts,
            place=work.place,
        )
        for run in runs
    ]


def _remove(scratch: str) -> None:
    """Delete the scratch files, also those of workers that died; what is left is found by vacuum."""
    store = open_store(scratch)
    with suppress(ObjectNotFound, ObjectError, OSError):
        for uri in [uri for page in store.list(join(scratch, "")) for uri in page["uri"].to_pylist()]:
            store.delete(uri)
