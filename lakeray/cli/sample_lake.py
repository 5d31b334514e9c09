"""A generated lake as lakes are: many small objects, most of them good."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from csv import writer
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

ORDER_OBJECTS = 1_800
CUSTOMER_OBJECTS = 600
ROWS_PER_OBJECT = 30
NEW_ORDER_OBJECTS = 60
NEW_CUSTOMER_OBJECTS = 20
_SEED = 20261123
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_REGIONS = ("eu", "us", "ap")
_COUNTRIES = ("DE", "FR", "US", "IN", "JP", "BR")
_NAMES = ("Ada Lovelace", "Zoë Fichtenberg", "李小龍", "O'Neil, Pat", "Søren Ågård", "Ana María Núñez")


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was generated: ``records`` counts malformed ones too, temporary names are not in ``objects``."""

    objects: int
    records: int
    size_bytes: int

    def __add__(self, other: Written) -> Written:
        return Written(
            objects=self.objects + other.objects,
            records=self.records + other.records,
            size_bytes=self.size_bytes + other.size_bytes,
        )


def generate(root: Path) -> Written:
    """Fill ``root/raw`` with the same orders (JSON lines, some gzipped) next to customers (CSV) every time.

    One order in some hundred is a test, has no id, no positive amount, a field that is new, or is no JSON at all. There
    are two objects with temporary names too, which an import leaves alone.
    """
    orders, customers = root / "raw" / "orders", root / "raw" / "customers"
    written = _orders(orders, range(ORDER_OBJECTS)) + _customers(customers, range(CUSTOMER_OBJECTS))
    for name in ("part-9998.json.tmp", "_part-9999.json"):
        (orders / "region=eu" / name).write_text('{"order_id": 1, "half writ', encoding="utf-8")
    return written


def add_news(root: Path) -> Written:
    """Add some good objects besides one truncated, one empty, one that is a web page."""
    orders, customers = root / "raw" / "orders", root / "raw" / "customers"
    news = _orders(orders, range(ORDER_OBJECTS, ORDER_OBJECTS + NEW_ORDER_OBJECTS))
    news += _customers(customers, range(CUSTOMER_OBJECTS, CUSTOMER_OBJECTS + NEW_CUSTOMER_OBJECTS))
    whole = gzip.compress("\n".join(_order(random.Random(1), 0, n) for n in range(400)).encode(), mtime=0)  # noqa: S311
    broken = {
        "truncated.json.gz": whole[: len(whole) // 2],
        "empty.json": b"",
        "page.json": b"<html><body>503 Service Unavailable</body></html>\n",
    }
    for name, content in broken.items():
        (orders / "region=us" / name).write_bytes(content)
    return news + Written(objects=len(broken), records=0, size_bytes=sum(map(len, broken.values())))


def _orders(folder: Path, numbers: range) -> Written:
    def lines(number: int) -> bytes:
        dice = random.Random(_SEED + number)  # noqa: S311 - a demo must look the same every time
        text = "".join(f"{_order(dice, number, row)}\n" for row in range(ROWS_PER_OBJECT))
        return text.encode() if number % 4 else gzip.compress(text.encode(), compresslevel=1, mtime=0)

    def name(number: int) -> str:
        return f"region={_REGIONS[number % 3]}/part-{number:04d}.json{'' if number % 4 else '.gz'}"

    return _write(folder, numbers, name, lines)


def _order(dice: random.Random, number: int, row: int) -> str:
    order_id = number * ROWS_PER_OBJECT + row + 1
    placed = _BEGIN + timedelta(minutes=7 * order_id)
    order: dict[str, object] = {
        "order_id": order_id,
        "placed_at": placed.isoformat(),
        "customer_id": dice.randint(1, CUSTOMER_OBJECTS * ROWS_PER_OBJECT),
        "email": f"user{dice.randint(1, 9999)}@example.com",
        "amount": round(dice.lognormvariate(3.5, 0.8), 2),
        "status": dice.choice(("new", "paid", "paid", "shipped")),
        "items": [_item(dice) for _ in range(dice.randint(1, 3))],
    }
    return _mess(dice, order)


def _item(dice: random.Random) -> dict[str, object]:
    return {"sku": f"S-{dice.randint(100, 999)}", "quantity": dice.randint(1, 5)}


def _mess(dice: random.Random, order: dict[str, object]) -> str:
    chance = dice.random()
    if chance < 0.004:  # noqa: PLR2004 - one line in 250 was cut off
        return json.dumps(order)[:40]
    if chance < 0.010:  # noqa: PLR2004
        order["order_id"] = None
    elif chance < 0.020:  # noqa: PLR2004
        order["amount"] = -float(str(order["amount"]))
    elif chance < 0.040:  # noqa: PLR2004
        order["status"] = "test"
    elif chance < 0.060:  # noqa: PLR2004 - a number that some writer put into quotes
        order["amount"] = str(order["amount"])
    elif chance < 0.080:  # noqa: PLR2004 - a field that older orders do not have
        order["coupon"] = {"code": f"C{dice.randint(10, 99)}", "percent": 5}
    return json.dumps(order, ensure_ascii=False)


def _customers(folder: Path, numbers: range) -> Written:
    def table(number: int) -> bytes:
        dice = random.Random(_SEED - number)  # noqa: S311
        text = io.StringIO()
        rows = writer(text, lineterminator="\n")
        rows.writerow(["customer_id", "name", "country", "signed_up", "credit"])
        for row in range(ROWS_PER_OBJECT):
            signed_up = (_BEGIN - timedelta(days=dice.randint(0, 2000))).date()
            country = dice.choice(_COUNTRIES) if dice.random() > 0.01 else ""  # noqa: PLR2004
            name = f"{dice.choice(_NAMES)} {number * ROWS_PER_OBJECT + row + 1}"
            rows.writerow([number * ROWS_PER_OBJECT + row + 1, name, country, signed_up, dice.randint(0, 5000)])
        return text.getvalue().encode()

    return _write(folder, numbers, lambda number: f"customers-{number:04d}.csv", table)


def _write(folder: Path, numbers: range, name: Callable[[int], str], content: Callable[[int], bytes]) -> Written:
    size_bytes = 0
    for number in numbers:
        path = folder / name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        size_bytes += path.write_bytes(content(number))
    return Written(objects=len(numbers), records=len(numbers) * ROWS_PER_OBJECT, size_bytes=size_bytes)


def workflow_text(root: Path) -> str:
    """The workflow file for a lake that was generated in ``root``."""

    def uri(*parts: str) -> str:
        return json.dumps(str(root.joinpath(*parts)), ensure_ascii=False)

    return f"""\
# What becomes of the objects under raw/. Run it as often as you like: each object is imported once.
workflow: demo

sources:
  raw_orders:
    uri: {uri("raw", "orders")}
    format: json
    schema_hints: {{order_id: int64, placed_at: timestamp, customer_id: int64, amount: float64}}
  raw_customers:
    uri: {uri("raw", "customers")}
    format: csv
    schema_hints: {{customer_id: int64, signed_up: date, credit: int64}}

tables:
  orders:
    uri: {uri("tables", "orders")}
    partition_by: [region]               # a column from the path: raw/orders/region=eu/...
  customers:
    uri: {uri("tables", "customers")}

steps:
  customers:
    import: {{from: raw_customers, into: customers}}
    expect:
      country_known: {{sql: "country IS NOT NULL AND country <> ''", on_violation: warn}}
  orders:
    import: {{from: raw_orders, into: orders}}
    select: {{placed_on: "CAST(placed_at AS DATE)"}}
    where: "status <> 'test'"
    expect:
      id_present: {{sql: "order_id IS NOT NULL", on_violation: quarantine}}
      positive: {{sql: "amount > 0", on_violation: drop}}
    mask:
      email: {{redact: "(hidden)"}}
"""
