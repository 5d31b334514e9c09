"""Tables that changes are merged into hold what a plain oracle says, whatever the stream and wherever it crashes.

Streams are random: out of order, repeated, late, with deletes before their inserts, spread over objects and batches.
Crash points: every name in ``lakeray.failpoints.REGISTRY``, one after the other in the same batch, each followed by
another try; between batches small files are merged and the ledger is lost.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeray import failpoints
from lakeray.delta.table import open_table
from lakeray.runtime.upkeep import TableOf
from tests.properties.crashes import Crash, armed, examples
from tests.unit.importer.small_lake import SmallLake, lines

TALLY = Path(os.environ["LAKERAY_PROPERTY_TALLY"]) if "LAKERAY_PROPERTY_TALLY" in os.environ else None
HINTS = {"a": "int64", "b": "string", "seq": "int64", "v": "int64", "w": "string", "op": "string", "day": "string"}


# The oracle


@dataclass
class Latest:
    """Mode merge: one state a key, or none since a delete; ``at`` is its sequence."""

    partial: bool
    sequence: bool
    rows: dict[Any, dict[str, Any] | None] = field(default_factory=dict)
    at: dict[Any, int] = field(default_factory=dict)

    def batch(self, changes: list[dict[str, Any]]) -> None:
        ordered = sorted(changes, key=lambda change: change["seq"]) if self.sequence else changes
        late = [change for change in ordered if self.sequence and change["seq"] < self.at.get(key(change), -1)]
        for change in ordered:
            if change in late and any(change is each for each in late):
                continue
            before = self.rows.get(key(change)) or {}
            values = {name: change.get(name) for name in ("seq", "v", "w", "day")}
            if self.partial and change["op"] == "u":
                values = {name: before.get(name) if value is None else value for name, value in values.items()}
            self.rows[key(change)] = None if change["op"] == "d" else values
            self.at[key(change)] = change["seq"]

    def table(self) -> Counter[Any]:
        return Counter((*k, *row.values()) for k, row in self.rows.items() if row is not None)


@dataclass
class History:
    """Mode scd2: of every key what happened at which point of the sequence; None for a delete."""

    skip_unchanged: bool
    events: dict[Any, dict[int, tuple[Any, ...] | None]] = field(default_factory=dict)

    def batch(self, changes: list[dict[str, Any]]) -> None:
        fresh: dict[Any, dict[int, tuple[Any, ...] | None]] = {}
        for change in changes:
            state = None if change["op"] == "d" else (change.get("v"), change.get("w"), change.get("day"))
            fresh.setdefault(key(change), {})[change["seq"]] = state
        for k, new in fresh.items():
            known = self.events[k] = {**self.events.get(k, {}), **new}
            order = sorted(known)
            for before, at in pairwise(order):
                if self.skip_unchanged and at in new and new[at] is not None and known.get(before, 0) == new[at]:
                    new[at] = ("unchanged", *new[at])
            self.events[k] = {at: state for at, state in known.items() if not (at in new and new[at] != state)}

    def table(self) -> Counter[Any]:
        found: Counter[Any] = Counter()
        for k, known in self.events.items():
            order = sorted(known)
            for at, until in zip(order, [*order[1:], None], strict=True):
                state = known[at]
                if state is not None:
                    found[(*k, at, *state, at, until, until is None)] += 1
        return found


def key(change: dict[str, Any]) -> tuple[Any, ...]:
    return change["a"], change["b"]


# The streams

CHANGES = st.fixed_dictionaries(
    {
        "a": st.integers(0, 3),
        "b": st.sampled_from(["", "x", "y"]),
        "seq": st.integers(0, 12),
        "op": st.sampled_from("iiuuud"),
    },
    optional={"v": st.integers(0, 2), "w": st.sampled_from(["p", "q"]), "day": st.sampled_from(["d1", "d2"])},
)
OBJECTS = st.lists(CHANGES, max_size=6)
POINTS = st.lists(st.sampled_from([*failpoints.EVERY_IMPORT, *failpoints.NEW_COLUMNS, *failpoints.CHANGES]), max_size=2)
BATCHES = st.lists(st.tuples(st.lists(OBJECTS, min_size=1, max_size=3), POINTS), min_size=1, max_size=5)
TABLES = st.fixed_dictionaries(
    {
        "partition": st.sampled_from([[], ["day"], ["a"]]),
        "feed": st.booleans(),
        "slots": st.integers(1, 3),
        "memory": st.sampled_from([64 * 2**20, 4096]),
        "upkeep": st.sampled_from(["", "optimize", "ledger"]),
    }
)


class Run:
    """One stream on its way into one table."""

    def __init__(self, folder: Path, plan: dict[str, Any], table: dict[str, Any]) -> None:
        properties = {"delta.enableChangeDataFeed": "true"} if table["feed"] else {}
        self.lake = SmallLake(
            folder,
            source={"schema_hints": HINTS, "partitions": "none"},
            table={"partition_by": table["partition"], "properties": properties},
            plan={"key": ["a", "b"], **plan},
            slots=table["slots"],
            memory=table["memory"],
        )
        self.upkeep = table["upkeep"]
        self.objects = 0

    def batch(self, objects: list[list[dict[str, Any]]], points: list[str]) -> None:
        """Import some objects, crashing at ``points`` on the way."""
        for changes in objects:
            self.lake.put(f"{self.objects:06d}.json", lines(*changes))
            self.objects += 1
        for point in points:
            with suppress(Crash), armed(point):
                self.lake.run()
        summary = self.lake.run()
        assert all(batch.rows.balanced for batch in summary.batches)
        if self.upkeep == "optimize":
            TableOf(self.lake.table_uri).optimize()
        elif self.upkeep == "ledger":
            shutil.rmtree(self.lake.ledger().identity.ledger_uri, ignore_errors=True)

    def replayed(self, *columns: str) -> Counter[Any]:
        """The table as whoever has followed its change data feed has it."""
        if open_table(self.lake.table_uri) is None:
            return Counter()
        feed = pa.table(DeltaTable(self.lake.table_uri).load_cdf(starting_version=0).read_all())
        found: Counter[Any] = Counter()
        for row in sorted(feed.to_pylist(), key=lambda row: row["_commit_version"]):
            gone = row["_change_type"] in ("delete", "update_preimage")
            found[tuple(row[name] for name in columns)] += -1 if gone else 1
        assert min(found.values(), default=0) >= 0
        return +found

    def table(self, *columns: str) -> Counter[Any]:
        if open_table(self.lake.table_uri) is None:
            return Counter()
        return Counter(tuple(row[name] for name in columns) for row in self.lake.rows(*columns))


def tally() -> None:
    """Count one stream for ``tests.properties.many``."""
    if TALLY is not None:
        with TALLY.open("ab") as file:
            file.write(b".")


def check(oracle: Any, plan: dict[str, Any], table: dict[str, Any], batches: Any, columns: list[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="lake-"))
    tally()
    try:
        run = Run(folder, plan, table)
        for objects, points in batches:
            run.batch(objects, points)
            oracle.batch([change for changes in objects for change in changes])
            assert run.table(*columns) == oracle.table()
            if table["feed"]:
                assert run.replayed(*columns) == oracle.table()
    finally:
        shutil.rmtree(folder)


SETTINGS = settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
OPERATION = {"column": "op", "insert": ["i"], "update": ["u"], "delete": ["d"]}


@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("partial", [True, False])
@SETTINGS
@given(table=TABLES, batches=BATCHES)
def test_merge_equals_the_oracle(partial: bool, sequence: bool, table: dict[str, Any], batches: Any) -> None:
    plan = {"mode": "merge", "operation": OPERATION, "partial": partial, **({"sequence": "seq"} if sequence else {})}
    oracle = Latest(partial=partial, sequence=sequence)
    check(oracle, plan, table, batches, ["a", "b", "seq", "v", "w", "day"])


@pytest.mark.parametrize("skip_unchanged", [True, False])
@SETTINGS
@given(table=TABLES, batches=BATCHES)
def test_scd2_equals_the_oracle(skip_unchanged: bool, table: dict[str, Any], batches: Any) -> None:
    plan = {"mode": "scd2", "sequence": "seq", "operation": OPERATION, "history": {"skip_unchanged": skip_unchanged}}
    columns = ["a", "b", "seq", "v", "w", "day", "valid_from", "valid_to", "is_current"]
    check(History(skip_unchanged=skip_unchanged), plan, table, batches, columns)
