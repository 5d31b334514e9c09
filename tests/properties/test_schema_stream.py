"""A stream of 200 schema versions is imported without a restart and without a lost value.

Each version comes from the one before by one of: add, drop, reorder, widen, nest, rename, change type; at any depth.
Each is one object, imported by one loop that is never started anew: the first ones batch by batch, the others in
batches of several versions and tasks. At the end every value of every record is in its column or in the rescued data
of its row, and delta-rs, pyarrow, Polars and DuckDB read the same table. Failures name the seed;
``LAKERAY_SCHEMA_SEED`` and ``LAKERAY_SCHEMA_VERSIONS`` choose others.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lakeray.importer.loop import ImportLoop
from tests.unit.delta.readers import READERS
from tests.unit.importer.small_lake import SmallLake, lines

VERSIONS = int(os.environ.get("LAKERAY_SCHEMA_VERSIONS", "200"))
SEED = int(os.environ.get("LAKERAY_SCHEMA_SEED", "20240501"))
ROWS = 3
ALONE, TOGETHER = 30, 7
"""So many versions come one a batch, then so many in each."""
MAX_FIELDS, MAX_DEPTH = 8, 3

SCALARS = ("small", "large", "float", "text", "flag", "day", "moment")
WIDENS = {"small": "large", "large": "float", "day": "moment"}


class Versions:
    """The schema of a source as it moves: names with a scalar's name, a dict of fields, or a list of one of these."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.fields: dict[str, Any] = {"v0": "small", "v1": {"v2": "text"}}
        self.count = 3
        self.done: Counter[str] = Counter()

    def step(self) -> None:
        """One change, somewhere."""
        name = self.random.choice(("add", "add", "drop", "reorder", "widen", "nest", "rename", "retype"))
        place = self._place()
        if name != "add" and not place:
            name = "add"
        getattr(self, f"_{name}")(place)
        self.done[name] += 1

    def record(self) -> dict[str, Any]:
        """One record of the present version; fields are absent or null now and then."""
        return self._value(self.fields)

    def _place(self) -> dict[str, Any]:
        """The fields at some depth."""
        place = self.fields
        while True:
            inner = [kind for kind in map(_within, place.values()) if kind is not None]
            if not inner or self.random.random() < 0.5:
                return place
            place = self.random.choice(inner)

    def _new_name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def _kind(self) -> Any:
        return self.random.choice(SCALARS)

    def _add(self, place: dict[str, Any]) -> None:
        if len(place) >= MAX_FIELDS:
            self._drop(place)
        place[self._new_name()] = self._kind()

    def _drop(self, place: dict[str, Any]) -> None:
        del place[self.random.choice(list(place))]

    def _reorder(self, place: dict[str, Any]) -> None:
        items = list(place.items())
        self.random.shuffle(items)
        place.clear()
        place.update(items)

    def _widen(self, place: dict[str, Any]) -> None:
        narrow = [name for name, kind in place.items() if isinstance(kind, str) and kind in WIDENS]
        if narrow:
            name = self.random.choice(narrow)
            place[name] = WIDENS[place[name]]
        else:
            self._add(place)

    def _nest(self, place: dict[str, Any]) -> None:
        if _depth(self.fields) >= MAX_DEPTH:
            return
        name = self.random.choice(list(place))
        inner: Any = {self._new_name(): place[name], self._new_name(): self._kind()}
        place[self._new_name() if self.random.random() < 0.5 else name] = self.random.choice((inner, [inner]))

    def _rename(self, place: dict[str, Any]) -> None:
        name = self.random.choice(list(place))
        place[self._new_name()] = place.pop(name)

    def _retype(self, place: dict[str, Any]) -> None:
        place[self.random.choice(list(place))] = self._kind()

    def _value(self, kind: Any) -> Any:
        chance = self.random
        if isinstance(kind, dict):
            return {name: self._value(inner) for name, inner in kind.items() if chance.random() > 0.1}
        if isinstance(kind, list):
            return [self._value(kind[0]) for _ in range(chance.randrange(3))]
        if chance.random() < 0.05:
            return None
        return _SCALARS[kind](chance)


_SCALARS: dict[str, Any] = {
    "small": lambda chance: chance.randrange(-1000, 1000),
    "large": lambda chance: chance.randrange(-(2**50), 2**50),
    "float": lambda chance: chance.randrange(-(10**6), 10**6) / 64,
    "text": lambda chance: "".join(chance.choices("abc éß7-", k=5)),
    "flag": lambda chance: chance.random() < 0.5,
    "day": lambda chance: str(dt.date(2024, 1, 1) + dt.timedelta(days=chance.randrange(1000))),
    "moment": lambda chance: f"2024-05-{chance.randrange(1, 31):02d}T{chance.randrange(24):02d}:30:15Z",
}


def _within(kind: Any) -> dict[str, Any] | None:
    if isinstance(kind, list):
        return _within(kind[0])
    return kind if isinstance(kind, dict) else None


def _depth(kind: Any) -> int:
    inner = _within(kind)
    return 0 if inner is None else 1 + max(map(_depth, inner.values()), default=0)


def same(value: Any, found: Any) -> bool:  # noqa: PLR0911  a table of types
    """Whether a table's value says what a record's did: fields that are null are as good as absent."""
    if isinstance(found, str) and not isinstance(value, str):
        return same(value, _parsed(found))
    if isinstance(value, dict):
        if not isinstance(found, dict):
            return False
        return all(same(value.get(name), found.get(name)) for name in {*value, *found})
    if isinstance(value, list):
        return isinstance(found, list) and len(value) == len(found) and all(map(same, value, found))
    if isinstance(found, dt.datetime):
        return isinstance(value, str) and dt.datetime.fromisoformat(value).replace(tzinfo=dt.UTC) == found
    if isinstance(found, dt.date):
        return str(found) == value
    if isinstance(value, bool) or isinstance(found, bool):
        return value is found or (isinstance(value, bool) and value == found)
    return bool(value == found)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def kept(record: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """The fields of the record that are neither in their column nor in rescued data."""
    rescued = json.loads(row.get("_rescued_data") or "{}")
    return [
        name
        for name, value in record.items()
        if value is not None and not same(value, row.get(name)) and not same(value, rescued.get(name))
    ]


CONTRACTS: dict[str, dict[str, Any]] = {
    "add_columns": {"evolution": "add_columns"},
    "widen by rewriting": {"contract": {"types": "evolve", "widen": "rewrite"}},
}


@pytest.mark.parametrize("contract", CONTRACTS)
def test_no_value_of_a_moving_source_is_lost(tmp_path, contract):
    lake = SmallLake(tmp_path, source=CONTRACTS[contract], slots=2)
    versions = Versions(SEED)
    loop = ImportLoop(lake.context())
    records: dict[int, dict[str, Any]] = {}
    for number in range(VERSIONS):
        made = [{"id": number * ROWS + place, **versions.record()} for place in range(ROWS)]
        records.update({record["id"]: record for record in made})
        lake.put(f"{number:05d}.json", lines(*made))
        versions.step()
        if number < ALONE or number % TOGETHER == 0:
            loop.drain()
    loop.drain()
    rows = {row["id"]: row for row in lake.rows()}
    assert sorted(rows) == sorted(records)
    lost = {key: names for key, record in records.items() if (names := kept(record, rows[key]))}
    assert not lost, (SEED, {key: (lost[key], records[key], rows[key]) for key in list(lost)[:3]})
    assert set(versions.done) == {"add", "drop", "reorder", "widen", "nest", "rename", "retype"}
    everybody_reads_the_same(lake.table_uri)


def everybody_reads_the_same(uri: str) -> None:
    answers = {name: _texts(read(uri)) for name, read in READERS.items()}
    for name, answer in answers.items():
        assert answer == answers["delta-rs"], name


def _texts(table: pa.Table) -> dict[int, str]:
    """Each row as one text, in which the order of columns and fields plays no part."""
    return {row["id"]: json.dumps(_plain(row), sort_keys=True) for row in table.to_pylist()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat()
    return str(value) if isinstance(value, dt.date | Decimal) else value


def test_the_check_itself_sees_a_loss():
    record = {"a": 1, "b": {"c": [1, 2]}, "d": "2024-01-02", "e": None}
    row = {"a": 1.0, "b": {"c": [1, 2], "x": None}, "d": dt.date(2024, 1, 2), "_rescued_data": None}
    assert kept(record, row) == []
    assert kept(record, {**row, "a": None}) == ["a"]
    assert kept(record, {**row, "b": {"c": [1]}}) == ["b"]
    assert kept(record, {**row, "d": None, "_rescued_data": '{"d":"2024-01-02"}'}) == []
