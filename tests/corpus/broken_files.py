"""Columnar and compressed objects, cut short and with single bits flipped at seeded places."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import io
import random
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import orc

from tests.corpus.case import Case, write

SEED = 20261123
ROWS = 400
FLIPS = 60
CUTS = 15


def build(folder: Path) -> list[Case]:
    """Whole objects, then truncated and flipped ones."""
    cases = []
    for name, (kind, data) in whole_objects().items():
        path = write(folder, f"whole_{name}", data)
        cases.append(Case(name=f"whole/{name}", format=kind, path=path, expect="rows", rows=ROWS, refused=0))
        for part, damaged in damages(data, f"{SEED}/{name}"):
            path = write(folder, f"{part}_{name}", damaged)
            cut = part.startswith("cut")
            lenient = kind == "arrow" and name.startswith("stream")
            expect = "error" if cut and not lenient else "any"
            cases.append(
                Case(
                    name=f"broken/{name}/{part}",
                    format=kind,
                    path=path,
                    expect=expect,
                    crashes=not cut and kind in _NATIVE,
                )
            )
    return cases


_NATIVE = ("parquet", "orc", "arrow")


def damages(data: bytes, seed: str) -> list[tuple[str, bytes]]:
    """The object cut short at seeded places, and with one bit flipped at others."""
    chance = random.Random(seed)
    places = sorted({0, 1, 4, len(data) - 1, *(chance.randrange(1, len(data)) for _ in range(CUTS))})
    made = [(f"cut_{place}", data[:place]) for place in places]
    for _ in range(FLIPS):
        place, bit = chance.randrange(len(data)), chance.randrange(8)
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        made.append((f"flip_{place}_{bit}", bytes(flipped)))
    return list(dict(made).items())


def table() -> Any:
    """Rows of many types."""
    begin = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return pa.table(
        {
            "id": pa.array(range(ROWS), pa.int64()),
            "name": [None if i % 7 == 0 else f"näme {i}" for i in range(ROWS)],
            "amount": [i / 3 for i in range(ROWS)],
            "at": pa.array([begin + dt.timedelta(seconds=i) for i in range(ROWS)], pa.timestamp("us", "UTC")),
            "tags": [[f"t{j}" for j in range(i % 4)] for i in range(ROWS)],
            "where": [{"city": "Basel", "lat": i * 0.5} for i in range(ROWS)],
            "price": pa.array([decimal.Decimal(i) for i in range(ROWS)], pa.decimal128(10, 2)),
        }
    )


def whole_objects() -> dict[str, tuple[str, bytes]]:
    """Name of the object with its format and bytes; every one has the same number of rows in several parts."""
    rows = table()
    made: dict[str, tuple[str, bytes]] = {}
    for codec in ("snappy", "zstd", "none"):
        out = io.BytesIO()
        pq.write_table(rows, out, row_group_size=100, compression=codec)
        made[f"{codec}.parquet"] = ("parquet", out.getvalue())
    out = io.BytesIO()
    orc.write_table(rows, out, compression="zstd", stripe_size=64 * 1024, batch_size=100)
    made["zstd.orc"] = ("orc", out.getvalue())
    for name, opener in (("file.arrow", pa.ipc.new_file), ("stream.arrows", pa.ipc.new_stream)):
        sink = pa.BufferOutputStream()
        with opener(sink, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=100)
        made[name] = ("arrow", sink.getvalue().to_pybytes())
    made |= {f"{codec}.avro": ("avro", avro_bytes(codec)) for codec in ("null", "deflate", "zstandard", "snappy")}
    lines = b"".join(b'{"id":%d,"name":"name %d"}\n' % (i, i) for i in range(ROWS))
    made["lines.json.gz"] = ("json", gzip.compress(lines, mtime=0))
    return made


def avro_bytes(codec: str) -> bytes:
    """An Avro object with nulls, unions, logical types, arrays, maps and records."""
    schema = {
        "type": "record",
        "name": "Row",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "name", "type": ["null", "string"]},
            {"name": "mixed", "type": ["null", "long", "string"]},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "scores", "type": {"type": "map", "values": "double"}},
            {
                "name": "where",
                "type": {"type": "record", "name": "Place", "fields": [{"name": "city", "type": "string"}]},
            },
        ],
    }
    begin = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    records = [
        {
            "id": i,
            "name": None if i % 7 == 0 else f"näme {i}",
            "mixed": [None, i, f"x{i}"][i % 3],
            "at": begin + dt.timedelta(seconds=i),
            "price": decimal.Decimal(i) / 4,
            "tags": ["a"] * (i % 3),
            "scores": {"x": i / 2},
            "where": {"city": "Basel"},
        }
        for i in range(ROWS)
    ]
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec, sync_interval=2000, sync_marker=b"0123456789abcdef")
    return out.getvalue()
