"""A file of rows in a format of the user's choice, written as a stream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pyarrow.types as pt

from lakeray.delta.parquet import CountedSink
from lakeray.spec.outputs import Output
from lakeray.transform.delta_types import is_text
from lakeray.transform.record import json_text, json_values, records


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFile:
    """One file; ``path`` is relative to the output's folder."""

    path: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchOutput:
    """What one batch put into one output of its step; ``mode`` is the import's."""

    name: str
    folder: str
    mode: str
    files: tuple[OutputFile, ...]

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> BatchOutput:
        """The inverse of ``to_json``."""
        return cls(**{**raw, "files": tuple(OutputFile(**file) for file in raw["files"])})


_SUFFIX = {"parquet": ".parquet", "csv": ".csv", "json": ".jsonl", "arrow": ".arrow"}
_PACKED = {"gzip": ".gz", "zstd": ".zst"}


def suffix(output: Output) -> str:
    """What names of its files end with; compression of a text file is part of the name."""
    packed = _PACKED.get(output.codec, "") if output.format in ("csv", "json") else ""
    return _SUFFIX[output.format] + packed


class _Writer(Protocol):
    """What pyarrow's writers have in common."""

    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class OutputWriter:
    """One file. After an error call ``discard``; ``close`` says how many bytes it has."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, output: Output) -> None:
        self._sink = sink
        self._counted = CountedSink(sink)
        self._stream: Any = None
        try:
            self._writer = self._opened(schema, output)
        except BaseException:
            self.discard()
            raise
        self._shaped = _SHAPES.get(output.format, lambda table: table)

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._writer.write_table(self._shaped(table))

    def close(self) -> int:
        """Finish the file, which is whole in the store when this returns; its bytes."""
        self._writer.close()
        if self._stream is not None:
            self._stream.close()
        size = self._counted.size
        self._sink.close()
        return size

    def discard(self) -> None:
        """Leave nothing behind under the file's name."""
        self._counted.mute()
        for part in (getattr(self, "_writer", None), self._stream):
            if part is not None:
                with suppress(Exception):
                    part.close()  # or its finaliser would write
        abandon = getattr(self._sink, "discard", None)
        if abandon is not None:
            abandon()

    def _opened(self, schema: pa.Schema, output: Output) -> _Writer:
        codec = None if output.codec == "none" else output.codec
        if output.format == "parquet":
            return pq.ParquetWriter(self._counted, schema, compression=output.codec, version="2.6")  # type: ignore[no-any-return]
        if output.format == "arrow":
            options = pa.ipc.IpcWriteOptions(compression=codec)
            return pa.ipc.new_file(self._counted, schema, options=options)  # type: ignore[no-any-return]
        self._stream = pa.PythonFile(self._counted, mode="w")
        if codec is not None:
            self._stream = pa.CompressedOutputStream(self._stream, codec)
        if output.format == "csv":
            return pyarrow.csv.CSVWriter(self._stream, _flat(schema.empty_table()).schema)  # type: ignore[no-any-return]
        return _Lines(self._stream)


class _Lines:
    """JSON, one object a line."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write_table(self, table: pa.Table) -> None:
        for text in records(table).to_pylist():
            self._stream.write(f"{text}\n".encode())

    def close(self) -> None:
        """The stream is closed by its owner."""


def _flat(table: pa.Table) -> pa.Table:
    """The table with what CSV has no text for as its canonical text."""
    for place, field in enumerate(table.schema):
        kind = field.type
        if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind) or is_text(kind) or pt.is_temporal(kind):
            continue
        values = json_values(table.column(place))
        texts = [value if value is None or isinstance(value, str) else json_text(value) for value in values]
        table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


_SHAPES: dict[str, Callable[[pa.Table], pa.Table]] = {"csv": _flat}
