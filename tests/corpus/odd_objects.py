"""Objects that are not what their name says, are compressed in odd ways, or hold one enormous record."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.corpus.case import Case, Expect, write

LIMIT = 4096  # max_record_bytes of the cases with long records
_LINES = b"".join(b'{"id": %d, "name": "name %d"}\n' % (i, i) for i in range(1000))
_PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}
_FORMATS = ("json", "csv", "tsv", "text", "parquet", "avro", "orc", "arrow")


def build(folder: Path) -> list[Case]:
    """Compression, wrong extensions, empty objects, long records, text and binary."""
    return [*_compressed(folder), *_wrong_names(folder), *_empty(folder), *_long(folder), *_plain(folder)]


def parquet_bytes() -> bytes:
    """A small Parquet object."""
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2, 3]}), out)
    return out.getvalue()


def _compressed(folder: Path) -> list[Case]:
    cases = []

    def add(name: str, file: str, data: bytes, expect: Expect, rows: int | None, **options: object) -> None:
        path = write(folder / "compressed", file, data)
        refused = 0 if expect == "rows" else None
        cases.append(
            Case(
                name=f"compressed/{name}",
                format="json",
                path=path,
                expect=expect,
                rows=rows,
                refused=refused,
                options=options,
            )
        )

    for suffix, pack in _PACK.items():
        packed = pack(_LINES)
        add(f"{suffix}_by_name", f"a.json.{suffix}", packed, "rows", 1000)
        add(f"{suffix}_capital", f"b.JSON.{suffix.upper()}", packed, "rows", 1000)
        codec = {"gz": "gzip", "zst": "zstd"}.get(suffix, suffix)
        add(f"{suffix}_by_option", f"c_{suffix}.json", packed, "rows", 1000, compression=codec)
        add(f"{suffix}_two_members", f"d.json.{suffix}", packed + packed, "rows", 2000)
        add(f"{suffix}_garbage_after", f"e.json.{suffix}", packed + b"garbage", "error", None)
        add(f"{suffix}_of_nothing", f"f.json.{suffix}", pack(b""), "rows", 0)
        add(f"{suffix}_no_bytes", f"g.json.{suffix}", b"", "error", 0)
        add(f"{suffix}_truncated_by_1", f"h.json.{suffix}", packed[:-1], "error", None)
        add(f"{suffix}_half", f"i.json.{suffix}", packed[: len(packed) // 2], "error", None)
        add(f"{suffix}_only_magic", f"j.json.{suffix}", packed[:6], "error", 0)
        add(f"{suffix}_not_said", f"k_{suffix}.json", packed, "error", 0)
        add(f"{suffix}_is_plain", f"l.json.{suffix}", _LINES, "error", 0)
        add(f"{suffix}_switched_off", f"m.json.{suffix}", _LINES, "rows", 1000, compression="none")
    add("gz_zero_padding", "n.json.gz", gzip.compress(_LINES) + bytes(512), "rows", 1000)
    add("gz_twice", "o.json.gz", gzip.compress(gzip.compress(_LINES)), "error", 0)
    return cases


def _wrong_names(folder: Path) -> list[Case]:
    cases = []
    objects = {"parquet": parquet_bytes(), "html": b"<html><body>404</body></html>", "zip": b"PK\x03\x04\0\0\0\0" * 9}
    objects |= {"png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "zeros": bytes(4096), "noise": bytes(range(256)) * 16}
    for what, data in objects.items():
        for kind in _FORMATS:
            if what == kind:
                continue
            path = write(folder / "wrong", f"{what}.{kind}", data)
            must = kind in ("parquet", "avro", "orc", "arrow") or what in ("parquet", "zip", "png")
            expect: Expect = "error" if must else "any"
            cases.append(Case(name=f"wrong/{what}_as_{kind}", format=kind, path=path, expect=expect))
    return cases


def _empty(folder: Path) -> list[Case]:
    cases = []
    for kind in (*_FORMATS, "binary"):
        path = write(folder / "empty", f"empty.{kind}", b"")
        rows = {"binary": 1}.get(kind, 0)
        expect: Expect = "error" if kind in ("parquet", "avro", "orc", "arrow") else "rows"
        cases.append(Case(name=f"empty/{kind}", format=kind, path=path, expect=expect, rows=rows, refused=0))
    return cases


def _long(folder: Path) -> list[Case]:
    size: dict[str, object] = {"max_record_bytes": LIMIT, "chunk_bytes": 1024}
    fits, long = b"x" * (LIMIT - 20), b"y" * (20 * LIMIT)
    objects = {
        "json_lines": ("json", b'{"a":"%s"}\n{"a":"%s"}\n{"a":1}\n' % (fits, long), 2, 1),
        "json_line_only": ("json", b'{"a":"%s"}' % long, 0, 1),
        "json_line_without_any_end": ("json", b'{"a":"' + long, 0, 1),
        "json_array": ("json", b'[{"a":"%s"},{"a":"%s"},{"a":1}]' % (fits, long), 2, 1),
        "json_array_first": ("json", b'[{"a":"%s"},{"a":1}]' % long, 1, 1),
        "csv": ("csv", b"a,b\n1,%s\n2,%s\n3,4\n" % (fits, long), 2, 1),
        "csv_quoted_newlines": ("csv", b'a,b\n1,"%s"\n3,4\n' % (b"z\n" * (LIMIT // 4)), 2, 0),
        "text": ("text", fits + b"\n" + long + b"\nend\n", 2, 1),
        "binary": ("binary", long, 0, 1),
    }
    cases = []
    for name, (kind, data, rows, refused) in objects.items():
        path = write(folder / "long", f"{name}.{kind}", data)
        expect: Expect = "refused" if refused else "rows"
        cases.append(
            Case(name=f"long/{name}", format=kind, path=path, expect=expect, rows=rows, refused=refused, options=size)
        )
    return cases


def _plain(folder: Path) -> list[Case]:
    texts: dict[str, tuple[bytes, int, int]] = {
        "lines": (b"a\nb\n", 2, 0),
        "crlf": (b"a\r\nb\r\n", 2, 0),
        "empty_lines": (b"a\n\n\nb", 4, 0),
        "invalid_utf8": (b"a\n\xff\nb\n", 2, 1),
    }
    cases = []
    for name, (data, rows, refused) in texts.items():
        path = write(folder / "text", f"{name}.txt", data)
        expect: Expect = "refused" if refused else "rows"
        cases.append(Case(name=f"text/{name}", format="text", path=path, expect=expect, rows=rows, refused=refused))
    path = write(folder / "binary", "noise.bin", bytes(range(256)))
    return [*cases, Case(name="binary/noise", format="binary", path=path, expect="rows", rows=1, refused=0)]
