"""Many runs of every kind that needs no Ray, attended to by one process after another, and the people who steer them.

The runs import from one source into one table, wait for an approval that another process sends, for time, for a child;
some fail for good and are undone, what they imported is withdrawn.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deltalake import DeltaTable

from lakeray.errors import LeaseHeld, StateUnavailable
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.state import Command, EventStore, RunFilter
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from tests.polling import eventually
from tests.unit.runtime import durable_world as world
from tests.unit.runtime.durable_world import HERE, QUICK

_LAKE = """
workflow: good
sources: {raw: {uri: FOLDER/raw/, format: json}}
tables: {orders: {uri: FOLDER/orders, provenance: true}}
steps:
"""
GOOD = """
  first: {python: "HERE:effect", QUICK}
  ingest: {after: [first], import: {from: raw, into: orders}, QUICK}
  each: {after: [ingest], map: {over: [1, 2, 3, 4], python: "HERE:effect_of", concurrency: 2}, QUICK}
  release: {after: [each], gate: {approval: {role: steward}}}
  hold: {after: [release], wait: 30ms}
  sub: {after: [hold], workflow: child.yaml, QUICK}
  publish: {after: [sub], python: "HERE:effect", QUICK}
"""
BAD = """
  ingest: {import: {from: raw, into: orders}, compensate: withdraw, QUICK}
  one: {after: [ingest], python: "HERE:effect", compensate: "HERE:effect", QUICK}
  two: {after: [one], python: "HERE:effect", compensate: "HERE:effect", QUICK}
  last: {after: [two], python: "HERE:fail", retry: {maximum_attempts: 2, initial_interval: 0s}}
"""
GOOD_EFFECTS = ("first", "each~0", "each~1", "each~2", "each~3", "publish")
BAD_EFFECTS = ("one", "two", "one~undo", "two~undo")
ROWS = 5
AWAY_S, LONG_S = 60.0, 3600.0


@dataclass
class Fleet:
    """The runs of a store, seen from outside of the processes that attend to them."""

    folder: Path
    uri: str
    runs: dict[str, str] = field(default_factory=dict)
    rows: int = 0

    def __post_init__(self) -> None:
        (self.folder / "raw").mkdir(parents=True)
        world.prepare(self.folder)
        for name, steps in (("good", GOOD), ("bad", BAD)):
            text = f"{_LAKE}{steps}".replace("FOLDER", str(self.folder)).replace("HERE", HERE).replace("QUICK", QUICK)
            (self.folder / f"{name}.yaml").write_text(text)

    def add_objects(self, count: int) -> None:
        """Objects with new rows."""
        for _ in range(count):
            lines = [json.dumps({"id": self.rows + row}) for row in range(ROWS)]
            draft = self.folder / f"draft-{self.rows}"
            draft.write_text("\n".join(lines) + "\n")
            draft.rename(self.folder / "raw" / f"{self.rows:06d}.json")
            self.rows += ROWS

    def begin(self, name: str) -> None:
        """Have a run begun by whoever attends to the store, now or later."""
        run_id = f"{name}-{len(self.runs)}"
        self.runs[run_id] = name
        accept = c.encode_command(world.accept(self.folder, name, run_id))
        with open_state(self.uri) as store:
            store.send(Command(command_id=f"accept-{run_id}", run_id=run_id, data=accept))

    def approve(self) -> None:
        """Say yes to whatever waits for it."""
        with open_state(self.uri) as store:
            for head in store.runs(RunFilter(state="waiting"), limit=1000).runs:
                state = journal.load(store, head.run_id)
                step = state.steps.get("release") if state is not None else None
                if step is not None and step.status == "waiting" and step.gate and not step.gate.approvals:
                    yes = c.GiveApproval(
                        at=utc_now(), step="release", principal="ann", roles=("steward",), approve=True
                    )
                    data = c.encode_command(yes)
                    store.send(Command(command_id=uuid.uuid4().hex, run_id=head.run_id, data=data))

    def all_over(self) -> bool:
        """Whether every run was accepted and has ended."""
        with open_state(self.uri) as store:
            heads = [store.head(run_id) for run_id in self.runs]
        return all(head is not None and head.ended_at is not None for head in heads)

    def check(self) -> None:
        """Dense histories that ended right, completions and effects once, every row once."""
        found = world.histories(self.uri)
        wanted = set()
        for run_id, name in self.runs.items():
            ended = found[run_id][-1]
            assert isinstance(ended, e.RunEnded), run_id
            assert ended.state == ("succeeded" if name == "good" else "failed"), (run_id, found[run_id])
            wanted |= {f"{run_id}~{effect}" for effect in (GOOD_EFFECTS if name == "good" else BAD_EFFECTS)}
        for run_id, events in found.items():
            assert set(world.completions(events).values()) <= {1}, run_id
            assert isinstance(events[-1], e.RunEnded), run_id
            if run_id not in self.runs:
                wanted.add(f"{run_id}~within")
        assert world.effects(self.folder) == wanted
        ids = DeltaTable(str(self.folder / "orders")).to_pyarrow_table()["id"].to_pylist()
        assert sorted(ids) == list(range(self.rows))


def attend(folder: str) -> None:
    """Attend to all runs of the store until there is a file ``over``."""
    with open_state(os.environ["LAKERAY_STATE"]) as store, _orchestrator(store):
        eventually((Path(folder) / "over").exists, LONG_S)


@contextmanager
def _orchestrator(store: EventStore) -> Iterator[Orchestrator]:
    orchestrator = Orchestrator(
        store,
        owner=world.someone(),
        clock=utc_now,
        adopt=world.workers_of,
        ttl_s=float(os.environ["TTL_S"]),
        poll_s=0.05,
    )

    def free() -> bool:
        try:
            orchestrator.open()
        except (LeaseHeld, StateUnavailable):
            return False
        return True

    eventually(free, AWAY_S)
    try:
        yield orchestrator
    finally:
        orchestrator.close()
