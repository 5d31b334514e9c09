"""Rows are found by key exactly, whatever the key's type, and whatever the filter in front lets pass."""

from __future__ import annotations

import datetime as dt
import random

import pyarrow as pa
import pytest

from lakeray.importer.merge.lookup import Lookup

MAKERS = {
    "int64": (pa.int64(), lambda r: r.randrange(-500, 500)),
    "int16": (pa.int16(), lambda r: r.randrange(-500, 500)),
    "far": (pa.int64(), lambda r: r.choice([-1, 1]) * r.randrange(2**62, 2**62 + 300)),
    "string": (pa.string(), lambda r: "ü" * r.randrange(3) + "k" * r.randrange(12) + str(r.randrange(200))),
    "binary": (pa.binary(), lambda r: bytes(r.randrange(4)) + b"x" * r.randrange(20)),
    "date": (pa.date32(), lambda r: dt.date(2020, 1, 1) + dt.timedelta(days=r.randrange(400))),
    "time": (
        pa.timestamp("us", tz="UTC"),
        lambda r: dt.datetime(2020, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=r.randrange(500)),
    ),
    "decimal": (pa.decimal128(9, 2), lambda r: r.randrange(500)),
    "bool": (pa.bool_(), lambda r: r.random() < 0.5),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seed", range(5))
def test_every_row_with_one_of_the_keys_is_found_and_no_other(kind, seed):
    chance = random.Random(seed)
    arrow, make = MAKERS[kind]
    keys = sorted({make(chance) for _ in range(chance.randrange(1, 200))})[: chance.randrange(1, 100)]
    rows = [None if chance.random() < 0.1 else make(chance) for _ in range(500)]
    table = pa.array([None, *rows, None], arrow).slice(1, 500)  # an offset, as in a slice of a file
    found, place = Lookup(pa.array(keys, arrow)).find(table)
    keyed = pa.array(keys, arrow).to_pylist()
    assert found.tolist() == [number for number, row in enumerate(table.to_pylist()) if row in keyed]
    assert [keyed[at] for at in place.tolist()] == [table[number].as_py() for number in found.tolist()]


def test_no_rows_and_no_keys_find_nothing():
    for arrow in (pa.int64(), pa.string()):
        nothing = pa.array([], arrow)
        assert [len(part) for part in Lookup(nothing).find(pa.array([None], arrow))] == [0, 0]
        assert [len(part) for part in Lookup(pa.array([None], arrow).drop_null()).find(nothing)] == [0, 0]
