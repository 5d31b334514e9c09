"""Two imports that merge into one table at once end as their commits would one after the other.

One import runs a batch at some point of the other's, before its commit or behind it, again and again. The table must
hold what a second table holds into which the same batches were merged one by one, in the order of the first one's log.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray import failpoints
from lakeray.delta.table import open_table
from lakeray.spec.model import Workflow
from tests.properties.crashes import armed
from tests.properties.test_merge_machine import HINTS, OBJECTS, OPERATION, SETTINGS, TABLES, tally
from tests.sample_lake import read
from tests.unit.importer.small_lake import SmallLake, lines

WHEN = st.sampled_from([*failpoints.EVERY_IMPORT, *failpoints.CHANGES])
ROUNDS = st.lists(st.tuples(OBJECTS, OBJECTS, WHEN, st.booleans()), min_size=1, max_size=4)
PLANS: dict[str, dict[str, Any]] = {
    "merge": {"mode": "merge"},
    "merge by sequence": {"mode": "merge", "sequence": "seq"},
    "partial merge": {"mode": "merge", "partial": True},
    "scd2": {"mode": "scd2", "sequence": "seq"},
}


@dataclass
class Named(SmallLake):
    """An import of a workflow of its own."""

    name: str = "w"

    def workflow(self) -> Workflow:
        return super().workflow().model_copy(update={"workflow": self.name})


@dataclass
class Pair:
    """Two imports into one table."""

    folder: Path
    plan: dict[str, Any]
    table: dict[str, Any]
    lakes: list[Named] = field(default_factory=list)

    def __post_init__(self) -> None:
        properties = {"delta.enableChangeDataFeed": "true"} if self.table["feed"] else {}
        for name in ("one", "two"):
            lake = Named(
                self.folder / name,
                source={"schema_hints": HINTS, "partitions": "none"},
                table={
                    "uri": str(self.folder / "table"),
                    "partition_by": self.table["partition"],
                    "properties": properties,
                },
                plan={"key": ["a", "b"], "operation": OPERATION, **self.plan},
                slots=self.table["slots"],
                memory=self.table["memory"],
                name=name,
            )
            self.lakes.append(lake)

    @property
    def table_uri(self) -> str:
        return str(self.folder / "table")

    def batch(self, number: int, which: int, changes: list[dict[str, Any]]) -> None:
        """One more batch of one of them."""
        self.lakes[which].put(f"{number:06d}.json", lines(*changes))
        self.lakes[which].run()

    def interleaved(self, number: int, objects: tuple[Any, Any], point: str, first: int) -> None:
        """A batch of each, the other's at ``point`` of the first one's."""
        for lake, changes in zip(self.lakes, objects, strict=True):
            lake.put(f"{number:06d}.json", lines(*changes))

        other = self.lakes[1 - first]
        with armed(point, strike=lambda *_: other.run()):
            self.lakes[first].run()
        other.run()

    def order(self) -> list[tuple[int, int]]:
        """Which import committed which of its batches, in the order of the log."""
        handle = open_table(self.table_uri)
        assert handle is not None
        names = [lake.context().identity(handle).app_id for lake in self.lakes]
        found = []
        for entry in sorted((Path(self.table_uri) / "_delta_log").glob("*.json")):
            told = [json.loads(line).get("txn", {}) for line in entry.read_text().splitlines()]
            found += [(names.index(txn["appId"]), txn["version"]) for txn in told if txn.get("appId") in names]
        return found

    def rows(self) -> Counter[str]:
        """What the table holds."""
        return Counter(json.dumps(row, sort_keys=True, default=str) for row in read(self.table_uri).to_pylist())


@pytest.mark.parametrize("plan", PLANS)
@SETTINGS
@given(table=TABLES, rounds=ROUNDS)
def test_two_imports_end_as_their_commits_in_order(plan: str, table: dict[str, Any], rounds: Any) -> None:
    folder = Path(tempfile.mkdtemp(prefix="lake-"))
    tally()
    try:
        both, serial = (Pair(folder / name, PLANS[plan], table) for name in ("both", "serial"))
        for which in (0, 1):
            both.batch(0, which, [])
        done: list[tuple[int, int]] = []
        for number, (ones, twos, point, turned) in enumerate(rounds, 1):
            both.interleaved(number, (ones, twos), point, int(turned))
            order = both.order()
            assert order[: len(done)] == done
            assert sorted(order) == [(which, batch) for which in (0, 1) for batch in range(1, number + 2)]
            for which, batch in order[len(done) :]:
                changes = [[], []] if batch == 1 else rounds[batch - 2]
                serial.batch(batch, which, changes[which])
            done = order
            assert both.rows() == serial.rows()
    finally:
        shutil.rmtree(folder)
