"""W3's input: CSV of eight columns in which two rows of a hundred break one or two of five rules."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data_parquet import EPOCH_US
from benchmarks.hashing import below

HEADER = "order_id,customer_id,amount,quantity,status,email,country,placed_at"
STATUSES = ("new", "paid", "shipped", "returned")
RULES = ("id_present", "amount_positive", "quantity_in_range", "status_known", "placed_at_known")
"""In the order in which they are looked at: a row goes to quarantine under the first that it breaks."""
_COUNTRIES = ("de", "fr", "pt", "pl", "it", "be", "se", "at")
_BAD_PER_MILLE = 20
_BLOCK = 20_000
_WRONG = (
    ("", "ORD-17"),
    ("n/a", "-3.50", ""),
    ("many", "0", "9999"),
    ("???", ""),
    ("31/12/2024", "yesterday", ""),
)
"""By rule: what stands in its column in a row that breaks it."""
_FOREIGN = {"new": "neu", "paid": "Bezahlt", "returned": "ZURUECK"}
MASK_KEY = "a key of the benchmark"
_COLUMN = (0, 2, 3, 4, 7)
"""By rule: its column."""


def write(path: Path, first: int, count: int) -> dict[str, Any]:
    """One file."""
    total: dict[str, Any] = {"rows": 0, "sum_id": 0, "sum_quantity": 0, "min_time_us": 1 << 62, "max_time_us": 0}
    rules = dict.fromkeys(RULES, 0)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(HEADER + "\n")
        for start in range(first, first + count, _BLOCK):
            ids = np.arange(start, min(start + _BLOCK, first + count), dtype=np.uint64)
            file.write(_block(ids, total, rules))
    return {**total, "refused": sum(rules.values()), "rules": rules}


def write_plain(path: Path, first: int, count: int) -> dict[str, Any]:
    """The same file, with the answer of those who write every row, null where a value cannot be cast."""
    total = {**write(path, first, count), "rows": count, "sum_id": 0, "sum_quantity": 0, "refused": 0}
    del total["rules"]
    with path.open(encoding="utf-8", newline="") as lines:
        next(lines)
        for line in lines:
            fields = line.split(",")
            total["sum_id"] += int(fields[0]) if fields[0].isdigit() else 0
            total["sum_quantity"] += int(fields[3]) if fields[3].isdigit() else 0
    return total


def write_told(path: Path, first: int, count: int) -> dict[str, Any]:
    """The same file; the answer says besides how many rows have each status, and a sum over the digests that e-mail
    addresses become.
    """
    expected = write(path, first, count)
    with path.open(encoding="utf-8", newline="") as lines:
        next(lines)
        return {**expected, **_told(line.rstrip("\n").split(",") for line in lines)}


def write_soiled(path: Path, first: int, count: int) -> dict[str, Any]:
    """One file of the same rows, every fifth of them soiled in ways that cleansing takes back: the same answer."""
    clean = path.with_suffix(".plain")
    expected = write_told(clean, first, count)
    with clean.open(encoding="utf-8", newline="") as lines, path.open("w", encoding="utf-8", newline="") as file:
        file.write(next(lines))
        for place, line in enumerate(lines, start=first):
            fields = line.rstrip("\n").split(",")
            if place % 5 == 0:
                _soil(fields, place // 5)
            file.write(",".join(fields) + "\n")
    clean.unlink()
    return expected


def _told(rows: Iterator[list[str]]) -> dict[str, Any]:
    statuses = dict.fromkeys(STATUSES, 0)
    digests: dict[str, int] = {}
    total = 0
    for fields in rows:
        if broken(fields) is None:
            statuses[fields[4]] += 1
            total += digests.setdefault(fields[5], 0) or _digest(fields[5], digests)
    return {"statuses": statuses, "sum_digests": total}


def broken(fields: list[str]) -> int | None:
    """The first rule that a row breaks."""
    return next((rule for rule, column in enumerate(_COLUMN) if fields[column] in _WRONG[rule]), None)


def _digest(email: str, known: dict[str, int]) -> int:
    digest = hmac.new(MASK_KEY.encode(), email.encode(), hashlib.sha256).hexdigest()
    known[email] = int(digest[:8], 16)
    return known[email]


def _soil(fields: list[str], turn: int) -> None:
    """Blanks, upper case, a synonym, groups of thousands, a day in front of its month."""
    fields[4] = f" {_FOREIGN.get(fields[4], fields[4])} "
    fields[5] = fields[5].upper() if turn % 2 else f"{fields[5]} "
    fields[6] = fields[6].upper()
    if len(fields[2]) > 6 and fields[2][-3] == ".":
        fields[2] = f'"{fields[2][:-6]},{fields[2][-6:]}"'
    day = fields[7]
    if len(day) == 19:
        fields[7] = f"{day[8:10]}.{day[5:7]}.{day[:4]}{day[10:]}"


def _block(ids: Any, total: dict[str, Any], rules: dict[str, int]) -> str:
    quantities = below(ids, 31, 100) + 1
    seconds = EPOCH_US // 1_000_000 + ids.astype(np.int64) // 5 + below(ids, 32, 3600)
    bad = below(ids, 33, 1000) < _BAD_PER_MILLE
    lines = _good_fields(ids, quantities, seconds)
    for index in np.flatnonzero(bad).tolist():
        rules[RULES[_spoil(lines[index], int(ids[index]))]] += 1
    good = ~bad
    if good.any():
        total["rows"] += int(good.sum())
        total["sum_id"] += int(ids[good].sum())
        total["sum_quantity"] += int(quantities[good].sum())
        total["min_time_us"] = min(total["min_time_us"], int(seconds[good].min()) * 1_000_000)
        total["max_time_us"] = max(total["max_time_us"], int(seconds[good].max()) * 1_000_000)
    return "".join(",".join(fields) + "\n" for fields in lines)


def _good_fields(ids: Any, quantities: Any, seconds: Any) -> list[list[str]]:
    customers, cents = below(ids, 34, 500_000).tolist(), below(ids, 35, 1_000_000).tolist()
    statuses, countries = below(ids, 36, len(STATUSES)).tolist(), below(ids, 37, len(_COUNTRIES)).tolist()
    rows = zip(ids.tolist(), customers, cents, quantities.tolist(), statuses, countries, seconds.tolist(), strict=True)
    return [
        [
            str(number),
            str(customer),
            f"{cent // 100 + 1}.{cent % 100:02d}",
            str(quantity),
            STATUSES[status],
            f"user{customer}@example.com",
            _COUNTRIES[country],
            datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        ]
        for number, customer, cent, quantity, status, country, second in rows
    ]


def _spoil(fields: list[str], number: int) -> int:
    """Break one rule, every third time a second one too; the index of the first that is broken."""
    first = number % len(RULES)
    broken = {first, (number // 7) % len(RULES)} if number % 3 == 0 else {first}
    for rule in broken:
        wrong = _WRONG[rule]
        fields[_COLUMN[rule]] = wrong[number // 11 % len(wrong)]
    return min(broken)
