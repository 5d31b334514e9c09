"""Rows and refused records of one object, whatever its format and compression."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from lakeray.errors import ReadError
from lakeray.importer.readers.port import Chunk, Reader, ReadOptions, Refused
from lakeray.importer.readers.sniff import binary_format
from lakeray.importer.readers.stream import WatchedFile, compression_of, open_bytes, text_source

__all__ = ["FORMATS", "Chunk", "ReadOptions", "Reader", "Refused", "read"]

_TEXT_FORMATS = ("json", "csv", "tsv", "text")
FORMATS = (*_TEXT_FORMATS, "parquet", "avro", "orc", "arrow", "binary", "delta")
_HEAD = 4096


def read(file: BinaryIO, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """Read one object, whose uri is ``name``.

    The uri's suffix names the compression unless the options do; of format ``binary`` only they do.

    ``file`` is at its beginning; columnar formats seek in it. Keeps the promises of ``Reader``. Raises ReadError, about
    ``name``.
    """
    kind = options.format
    if kind not in FORMATS:
        raise ReadError(f"format {kind!r} is not known", hint=f"one of {', '.join(FORMATS)}", uri=name)
    if kind in _TEXT_FORMATS:
        yield from _text(file, options, name)
    elif kind == "delta":
        from lakeray.importer.readers.delta_log import read_delta

        yield from read_delta(file, options, name=name)
    elif kind == "binary":
        from lakeray.importer.readers.whole_object import read_binary

        source = open_bytes(file, name=name, compression=options.compression or "none")
        yield from read_binary(source, options, name=name)
    else:
        from lakeray.importer.readers import avro, columnar

        readers = {
            "parquet": columnar.read_parquet,
            "orc": columnar.read_orc,
            "arrow": columnar.read_arrow,
            "avro": avro.read_avro,
        }
        with _unpacked(file, options, name) as watched:
            yield from readers[kind](watched, options, name=name)


def _text(file: BinaryIO, options: ReadOptions, name: str) -> Iterator[Chunk]:
    from lakeray.importer.readers import csv_chunks, json_lines, text_lines

    raw = open_bytes(file, name=name, compression=options.compression)
    head = raw.read(_HEAD)
    found = binary_format(head)
    if found is not None:
        raise ReadError(
            f"the object is not {options.format} text: it looks like {found}",
            hint="set the source's format or compression to what the objects are, or narrow its uri to the right ones",
            uri=name,
        )
    raw.unread(head)
    text = text_source(raw, options.encoding, name=name)
    readers = {"json": json_lines.read_json, "text": text_lines.read_text}
    yield from readers.get(options.format, csv_chunks.read_csv)(text, options, name=name)


@contextmanager
def _unpacked(file: BinaryIO, options: ReadOptions, name: str) -> Iterator[WatchedFile]:
    """The file itself, or what it holds compressed: in memory up to ``chunk_bytes``, on disk above."""
    if compression_of(name, options.compression) is None:
        yield WatchedFile(file)
        return
    source = open_bytes(file, name=name, compression=options.compression)
    with tempfile.SpooledTemporaryFile(max_size=options.chunk_bytes) as spool:
        while piece := source.read(1 << 20):
            spool.write(piece)
        spool.seek(0)
        yield WatchedFile(spool)
