"""A process's peak memory stays bounded whatever an object's size, its longest line or its compression."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
MIB = 2**20
SIZE_MIB = 300  # of each kind; a reader that kept it would need at least as much
PROGRAM = """
import io, resource, sys, zlib
import numpy, pyarrow, pyarrow.csv, pyarrow.json, msgspec, orjson
from lakeray.importer.readers import ReadOptions, read

MIB = 2**20
kind, size = sys.argv[1], int(sys.argv[2]) * MIB

class Stream(io.RawIOBase):
    "Bytes made as they are read."
    def __init__(self, pieces):
        self.pieces, self.rest = pieces, b""
    def readable(self):
        return True
    def read(self, n=-1):
        while len(self.rest) < n:
            piece = next(self.pieces, None)
            if piece is None:
                break
            self.rest += piece
        out, self.rest = self.rest[:n], self.rest[n:]
        return out

def repeated(head, body, tail):
    yield head
    for _ in range(size // len(body)):
        yield body
    yield tail

def packed(pieces):
    engine = zlib.compressobj(1, wbits=31)
    for piece in pieces:
        if out := engine.compress(piece):
            yield out
    yield engine.flush()

line = b'{"id": 123456, "name": "somebody", "at": "2024-01-01T00:00:00Z", "where": {"city": "Basel", "zip": [1, 2, 3]}}'
pretty = line.replace(b", ", b",\\n  ")
broken = b"\\n".join([line] * 500 + [b'{"id": '] + [line] * 500 + [b'{"id": "text"}']) + b"\\n"
made = {
    "lines": ("json", repeated(b"", (line + b"\\n") * 5000, b"")),
    "broken": ("json", repeated(b"", broken, b"")),
    "array": ("json", repeated(b"[", (pretty + b",") * 5000, pretty + b"]")),
    "one_line": ("json", repeated(b'{"a": "', b"x" * MIB, b'"}')),
    "one_element": ("json", repeated(b'[{"a": "', b"x" * MIB, b'"}, {"a": 1}]')),
    "bomb": ("json", packed(repeated(b'{"a": "', b"x" * MIB, b'"}\\n{"a": 1}'))),
    "blank": ("json", repeated(b"", b" " * MIB, line)),
    "csv": ("csv", repeated(b"a,b,c\\n", b'1,"x y",3\\n' * 50_000, b"")),
    "csv_open_quote": ("csv", repeated(b"a,b,c\\n1,2,3\\n", b'1,"x y,3\\n' + b"1,%s,3\\n" % (b"2" * 500) * 1000, b"")),
    "csv_one_line": ("csv", repeated(b"a,b,c\\n1,", b"x" * MIB, b",2\\n1,2,3")),
    "text": ("text", repeated(b"", b"some text\\n" * 50_000, b"")),
    "binary": ("binary", repeated(b"", bytes(MIB), b"")),
}
format_, pieces = made[kind]
options = ReadOptions(
    format=format_, chunk_bytes=4 * MIB, max_record_bytes=4 * MIB, compression="gzip" if kind == "bomb" else None
)
warm = ReadOptions(format="json", chunk_bytes=4 * MIB)
list(read(io.BytesIO(line), warm, name="warm"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = refused = 0
for chunk in read(Stream(pieces), options, name="memory:" + kind):
    rows += chunk.table.num_rows
    refused += len(chunk.refused)
    del chunk
print(rows, refused, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize(
    ("kind", "rows", "refused"),
    [
        ("lines", None, 0),
        ("broken", None, None),
        ("array", None, 0),
        ("one_line", 0, 1),
        ("one_element", 1, 1),
        ("bomb", 1, 1),
        ("blank", 1, 0),
        ("csv", None, 0),
        ("csv_open_quote", None, None),
        ("csv_one_line", 1, 1),
        ("text", None, 0),
        ("binary", 0, 1),
    ],
)
def test_memory_does_not_grow_with_the_object(kind: str, rows: int | None, refused: int | None) -> None:
    command = [sys.executable, "-c", PROGRAM, kind, str(SIZE_MIB)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    found_rows, found_refused, grown = map(int, done.stdout.split())
    assert rows in (None, found_rows)
    assert refused in (None, found_refused)
    assert found_rows + found_refused > 0
    assert grown < 110 * MIB, f"{grown / MIB:.0f} MiB for chunks of 4 MiB"
