"""The writer streams within its bounds and leaves nothing half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeray.delta.parquet import WriteOptions, dictionary_columns
from lakeray.delta.writer import StagedWriter
from lakeray.errors import TableError
from lakeray.objects import open_store
from tests.unit.delta.readers import rows


def sample(size: int, start: int = 0) -> pa.Table:
    numbers = np.arange(start, start + size)
    return pa.table({"i": numbers, "f": np.sin(numbers), "s": [f"row {n}" for n in numbers], "k": numbers % 5})


def opened(root: Path, schema: pa.Schema, partition_by: list[str] | None = None, **options: Any) -> StagedWriter:
    return StagedWriter(
        str(root),
        schema=schema,
        partition_by=partition_by or [],
        prefix="p-1-x",
        options=WriteOptions(**options),
        clock=lambda: 12.5,
    )


def read_all(root: Path, files: list[Any]) -> pa.Table:
    return pa.concat_tables([pq.ParquetFile(root / file.path).read() for file in files])


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_small_tables_are_gathered_into_full_row_groups(tmp_path: Path) -> None:
    whole = sample(1000)
    writer = opened(tmp_path, whole.schema, row_group_rows=300)
    for place in range(0, 1000, 7):
        writer.write(whole.slice(place, 7))
    (file,) = writer.close()
    footer = pq.read_metadata(tmp_path / file.path)
    assert [footer.row_group(group).num_rows for group in range(footer.num_row_groups)] == [300, 300, 300, 100]
    assert read_all(tmp_path, [file]).equals(whole)
    assert (file.path, file.rows, file.modified_ms) == ("p-1-x-00000.parquet", 1000, 12_500)
    assert file.size_bytes == (tmp_path / file.path).stat().st_size


def test_files_rotate_at_their_target_size(tmp_path: Path) -> None:
    whole = sample(20_000)
    writer = opened(tmp_path, whole.schema, row_group_rows=1000, target_file_bytes=50_000)
    writer.write(whole)
    files = writer.close()
    assert len(files) > 2
    assert [file.path for file in files] == [f"p-1-x-{k:05d}.parquet" for k in range(len(files))]
    assert all(50_000 <= file.size_bytes < 100_000 for file in files[:-1])
    assert read_all(tmp_path, files).equals(whole)
    assert writer.bytes_written == sum(file.size_bytes for file in files)


def test_the_buffer_is_bounded_in_bytes(tmp_path: Path) -> None:
    writer = opened(tmp_path, sample(1).schema, row_group_bytes=100_000)
    for place in range(50):
        writer.write(sample(500, start=place * 500))
        assert writer.buffered_bytes < 100_000
    assert sum(file.rows for file in writer.close()) == 25_000
    assert writer.buffered_bytes == 0


def test_the_buffer_is_bounded_over_all_partitions_together(tmp_path: Path) -> None:
    size = 20_000
    table = pa.table({"n": np.arange(size), "s": ["x" * 50] * size, "p": np.arange(size) % 40})
    writer = opened(tmp_path, table.schema, ["p"], row_group_bytes=200_000, open_files=4)
    for place in range(0, size, 1000):
        writer.write(table.slice(place, 1000))
        assert writer.buffered_bytes < 200_000
        assert len(writer._open) <= 4
    files = writer.close()
    assert sum(file.rows for file in files) == size
    assert len({file.path for file in files}) == len(files)
    back = [
        {"n": n, "p": int(file.partition_values["p"] or 0)}
        for file in files
        for n in pq.ParquetFile(tmp_path / file.path).read()["n"].to_pylist()
    ]
    assert rows(pa.Table.from_pylist(back)) == rows(table.select(["n", "p"]))


def test_partition_columns_are_not_in_the_files(tmp_path: Path) -> None:
    whole = sample(10)
    writer = opened(tmp_path, whole.schema, ["k"])
    writer.write(whole)
    files = writer.close()
    assert {file.partition_values["k"] for file in files} == {"0", "1", "2", "3", "4"}
    assert pq.read_schema(tmp_path / files[0].path).names == ["i", "f", "s"]


def test_no_rows_no_files(tmp_path: Path) -> None:
    writer = opened(tmp_path, sample(0).schema)
    writer.write(sample(0))
    assert writer.close() == []
    assert names(tmp_path) == []


def test_columns_may_come_in_any_order_and_layout(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int64()), ("s", pa.string()), ("l", pa.list_(pa.field("element", pa.int64())))])
    writer = opened(tmp_path, schema)
    writer.write(
        pa.table(
            {
                "l": pa.array([[1], None], pa.large_list(pa.int64())),
                "s": pa.array(["x", None], pa.string()).dictionary_encode(),
                "a": [1, 2],
            }
        )
    )
    (file,) = writer.close()
    assert read_all(tmp_path, [file]).to_pylist() == [{"a": 1, "s": "x", "l": [1]}, {"a": 2, "s": None, "l": None}]


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": [1.5]}),
        pa.table({"a": ["1"]}),
        pa.table({"a": pa.array([1], pa.int32())}),
        pa.table({"b": [1]}),
        pa.table({"a": [1], "b": [1]}),
    ],
)
def test_other_columns_or_types_are_refused(table: pa.Table, tmp_path: Path) -> None:
    writer = opened(tmp_path, pa.schema([("a", pa.int64())]))
    with pytest.raises(TableError, match=str(tmp_path)):
        writer.write(table)
    writer.discard()
    assert names(tmp_path) == []


def test_a_null_in_a_not_null_column_is_refused(tmp_path: Path) -> None:
    """Delta-rs commits such a file without a look, and the table is unreadable from then on."""
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    writer = opened(tmp_path, schema)
    with pytest.raises(TableError, match="null"):
        writer.write(pa.table({"a": pa.array([1, None])}))
    writer.discard()


def test_discard_leaves_nothing_behind(tmp_path: Path) -> None:
    whole = sample(20_000)
    writer = opened(tmp_path, whole.schema, row_group_rows=1000, target_file_bytes=50_000)
    writer.write(whole.slice(0, 15_000))
    assert names(tmp_path)
    writer.discard()
    assert names(tmp_path) == []
    assert writer.buffered_bytes == writer.bytes_written == 0


def test_a_file_is_not_there_before_it_is_closed(tmp_path: Path) -> None:
    whole = sample(5000)
    writer = opened(tmp_path, whole.schema, row_group_rows=1000)
    writer.write(whole)
    assert not any(name.endswith(".parquet") for name in names(tmp_path))
    writer.close()
    assert names(tmp_path) == ["p-1-x-00000.parquet"]


class FullDisk:
    """A store whose writer fails after some bytes."""

    def __init__(self, after: int) -> None:
        self._after = after

    def open_write(self, uri: str) -> Any:
        sink = open_store(uri).open_write(uri)
        plain, left = sink.write, [self._after]

        def write(data: Any) -> int:
            left[0] -= memoryview(data).nbytes
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return plain(data)

        return type(
            "Sink",
            (),
            {"write": staticmethod(write), "close": sink.close, "discard": getattr(sink, "discard", sink.close)},
        )()


def test_a_full_disk_fails_the_write_and_discard_cleans_up(tmp_path: Path) -> None:
    whole = sample(20_000)
    writer = StagedWriter(
        str(tmp_path),
        schema=whole.schema,
        partition_by=[],
        prefix="p",
        options=WriteOptions(row_group_rows=1000),
        store=FullDisk(60_000),  # type: ignore[arg-type]
    )
    with pytest.raises(OSError, match="No space"):
        writer.write(whole)
    writer.discard()
    assert names(tmp_path) == []


def test_a_dictionary_only_where_it_pays() -> None:
    size = 10_000
    table = pa.table(
        {
            "id": np.arange(size),
            "few": [f"v{n % 10}" for n in range(size)],
            "b": [True] * size,
            "none": pa.array([None] * size, pa.string()),
            "st": [{"x": n, "y": "same"} for n in range(size)],
            "l": [[n % 3] for n in range(size)],
            "m": pa.array([[("k", n)] for n in range(size)], pa.map_(pa.string(), pa.int64())),
        }
    )
    assert dictionary_columns(table) == ["few", "st.y", "l.list.element", "m.key_value.key"]


def test_dictionary_paths_are_those_of_the_file(tmp_path: Path) -> None:
    table = pa.table(
        {"st": [{"x": n, "y": "same"} for n in range(100)], "l": [[n % 3] for n in range(100)], "id": range(100)}
    )
    writer = opened(tmp_path, table.schema)
    writer.write(table)
    (file,) = writer.close()
    group = pq.read_metadata(tmp_path / file.path).row_group(0)
    encoded = {group.column(n).path_in_schema: "RLE_DICTIONARY" in group.column(n).encodings for n in range(4)}
    assert encoded == {"st.x": False, "st.y": True, "l.list.element": True, "id": False}


def codecs(path: Path) -> dict[str, str]:
    group = pq.read_metadata(path).row_group(0)
    return {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}


def test_packed_differences_are_compressed_only_where_that_makes_them_smaller(tmp_path: Path) -> None:
    chance = np.random.default_rng(7)
    noise = chance.integers(0, 1 << 40, 50_000)
    stairs = np.repeat(np.arange(500), 100) * 1_000_003
    nested = pa.array([{"n": int(n), "t": "x"} for n in noise])
    whole = pa.table({"noise": noise, "stairs": stairs, "f": np.sin(noise), "nested": nested})
    writer = opened(tmp_path, whole.schema)
    writer.write(whole)
    (file,) = writer.close()
    assert codecs(tmp_path / file.path) == {
        "noise": "UNCOMPRESSED",
        "stairs": "ZSTD",
        "f": "ZSTD",
        "nested.n": "UNCOMPRESSED",
        "nested.t": "ZSTD",
    }
    assert read_all(tmp_path, [file]).equals(whole)


@pytest.mark.parametrize("compression", [("none", None), ("snappy", None), ("zstd", 3)])
def test_noise_alone_can_be_written_with_every_codec(compression: tuple[str, int | None], tmp_path: Path) -> None:
    whole = pa.table({"noise": np.random.default_rng(7).integers(0, 1 << 40, 10_000)})
    writer = opened(tmp_path, whole.schema, compression=compression[0], compression_level=compression[1])
    writer.write(whole)
    (file,) = writer.close()
    assert codecs(tmp_path / file.path) == {"noise": "UNCOMPRESSED"}
    assert read_all(tmp_path, [file]).equals(whole)
