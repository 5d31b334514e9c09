"""W2's input: gzip files of nested JSON lines of about 200 bytes.

One variant has one malformed line more for every thousand rows.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data_parquet import EPOCH_US
from benchmarks.hashing import below

_KINDS = ("view", "click", "cart", "order")
_CITIES = ("Berlin", "Lyon", "Porto", "Krak\u00f3w", "Turin", "Ghent", "Malm\u00f6", "Graz")
_MALFORMED_EVERY = 1_000
_BLOCK = 20_000


def write_clean(path: Path, first: int, count: int) -> dict[str, Any]:
    """One file without a mistake in it."""
    return _write(path, first, count, malformed=False)


def write_malformed(path: Path, first: int, count: int) -> dict[str, Any]:
    """The same rows with malformed lines between them."""
    return _write(path, first, count, malformed=True)


def _write(path: Path, first: int, count: int, *, malformed: bool) -> dict[str, Any]:
    total = {"rows": 0, "sum_id": 0, "sum_quantity": 0, "malformed": 0, "min_time_us": 1 << 62, "max_time_us": 0}
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=4, mtime=0) as file:
        for start in range(first, first + count, _BLOCK):
            ids = np.arange(start, min(start + _BLOCK, first + count), dtype=np.uint64)
            users = below(ids, 21, 1_000_000)
            seconds = EPOCH_US // 1_000_000 + ids.astype(np.int64) // 10 + below(ids, 22, 600)
            lines = list(_lines(ids, users, seconds))
            if malformed:
                lines = list(_with_malformed(lines, start))
            total["malformed"] += len(lines) - len(ids)
            file.write("".join(lines).encode())
            total["rows"] += len(ids)
            total["sum_id"] += int(ids.sum())
            total["sum_quantity"] += int(users.sum())
            total["min_time_us"] = min(total["min_time_us"], int(seconds.min()) * 1_000_000)
            total["max_time_us"] = max(total["max_time_us"], int(seconds.max()) * 1_000_000)
    return total


def _lines(ids: Any, users: Any, seconds: Any) -> Iterator[str]:
    kinds, cities = below(ids, 23, len(_KINDS)).tolist(), below(ids, 24, len(_CITIES)).tolist()
    cents, skus = below(ids, 25, 1_000_000).tolist(), below(ids, 26, 90_000).tolist()
    counts = below(ids, 27, 9).tolist()
    for number, user, second, kind, city, cent, sku, count in zip(
        ids.tolist(), users.tolist(), seconds.tolist(), kinds, cities, cents, skus, counts, strict=True
    ):
        at = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield (
            f'{{"id":{number},"kind":"{_KINDS[kind]}","at":"{at}",'
            f'"user":{{"id":{user},"name":"user {user % 5000}","city":"{_CITIES[city]}"}},'
            f'"items":[{{"sku":"S-{sku:05d}","n":{count + 1}}},{{"sku":"S-{(sku * 7) % 90_000:05d}","n":1}}],'
            f'"amount":{cent // 100}.{cent % 100:02d},"tags":["t{count}","web"]}}\n'
        )


def _with_malformed(lines: list[str], start: int) -> Iterator[str]:
    """After every thousandth row one that is cut off, a stray text, without a colon, or with an unclosed string."""
    for offset, line in enumerate(lines):
        yield line
        number = start + offset + 1
        if number % _MALFORMED_EVERY == 0:
            way = number // _MALFORMED_EVERY % 4
            yield (line[:60] + "\n", "connection reset by peer\n", line.replace(":", " ", 1), '{"id":1,"kind":"view\n')[
                way
            ]


def plain_lines(first: int, count: int) -> bytes:
    """The text of that many lines, not compressed."""
    ids = np.arange(first, first + count, dtype=np.uint64)
    seconds = EPOCH_US // 1_000_000 + ids.astype(np.int64) // 10 + below(ids, 22, 600)
    return "".join(_lines(ids, below(ids, 21, 1_000_000), seconds)).encode()
