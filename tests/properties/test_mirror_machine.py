"""A table that mirrors its source holds the rows of what is listed, and no others, whatever happened before.

The source's policies are ``changed_objects: replace`` and ``deleted_objects: delete``; batches are withdrawn, too.
Crash points: every name in ``lakeray.failpoints.REGISTRY`` that such a batch passes, on its first to third pass. The
oracle is a dictionary from names to the version that is listed. After an import that reaches its end:

- of each name the rows of at most one version are in the table, all of them, once; the same holds for its quarantine;
- that is the listed one, unless it cannot be read (then a version from before stays, or none) or was withdrawn;
- a name that is not listed has no row.

``LAKERAY_PROPERTY_EXAMPLES`` sets how many histories are tried.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from lakeray import failpoints
from lakeray.delta.table import open_table
from lakeray.errors import ImportFailed
from lakeray.importer.provenance.withdraw import withdraw
from lakeray.objects import open_store
from lakeray.runtime.upkeep import TableOf
from tests.unit.importer.small_lake import SmallLake, lines

EXAMPLES = int(os.environ.get("LAKERAY_PROPERTY_EXAMPLES", "30"))
STEPS = 20
NAMES = st.sampled_from(["a.json.gz", "b.json.gz", "k=1/c.json.gz", "z.json.gz"])
KINDS = st.lists(st.sampled_from("gggbx"), max_size=5)
CORRUPT = st.integers(0, 7)
POINTS = st.sampled_from([*failpoints.EVERY_IMPORT, *failpoints.TAKE_OUT])
PASSES = st.sampled_from([1, 1, 1, 2, 3])
STRIKE = failpoints._strike


class Crash(BaseException):
    """The end of the process, as far as this process can have one."""


@dataclass
class Version:
    """One object version with the rows that it has."""

    name: str
    etag: str
    ids: frozenset[int]
    refused: frozenset[int]
    corrupt: bool


@dataclass
class Oracle:
    """``listed`` by name; ``all`` that ever was, by etag; ``asked`` are etags that somebody wanted withdrawn."""

    listed: dict[str, Version] = field(default_factory=dict)
    all: dict[str, Version] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


class MirrorMachine(RuleBasedStateMachine):
    @initialize(slots=st.integers(1, 3), max_objects=st.integers(1, 5), feed=st.booleans(), partitioned=st.booleans())
    def begin(self, slots, max_objects, feed, partitioned):
        self.folder = Path(tempfile.mkdtemp(prefix="lake-"))
        self.feed = feed
        self.lake = SmallLake(
            self.folder,
            source={
                "changed_objects": "replace",
                "deleted_objects": "delete",
                "deletion_guard": 1.0,
                "schema_hints": {"id": "int64", "p": "int64"},
                "max_tries": 50,
                "partitions": "none",
            },
            table={"change_data_feed": feed, "partition_by": ["p"] if partitioned else []},
            plan={"batch": {"max_objects": max_objects}},
            slots=slots,
        )
        self.lake.raw.mkdir()
        self.oracle = Oracle()
        self.next_id = 0
        self.feed_from, self.before_feed = 0, Counter[int]()

    def teardown(self):
        self.disarm()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def arm(self, point: str, passes: int) -> None:
        def crash(*_: Any) -> None:
            raise Crash

        failpoints._strike = crash
        failpoints._ARMED = {point: ("kill", passes)}
        failpoints._PASSES.clear()

    def disarm(self) -> None:
        failpoints._strike, failpoints._ARMED = STRIKE, {}

    @property
    def exists(self) -> bool:
        return open_table(self.lake.table_uri) is not None

    # What happens to the lake

    @rule(name=NAMES, kinds=KINDS, corrupt=CORRUPT)
    def put(self, name, kinds, corrupt):
        rows: list[Any] = []
        ids, refused = set(), set()
        for number, kind in enumerate(kinds, 1):
            if kind == "b":
                rows.append(b'{"id": nonsense')
                refused.add(number)
                continue
            self.next_id += 1
            ids.add(self.next_id)
            more = {f"x{self.next_id % 2}": self.next_id} if kind == "x" else {}
            rows.append({"id": self.next_id, "p": self.next_id % 2, **more})
        data = gzip.compress(lines(*rows))
        self.lake.put(name, data[:-9] if corrupt == 0 else data)
        etag = open_store(self.lake.uri(name)).head(self.lake.uri(name)).etag or ""
        version = Version(name, etag, frozenset(ids), frozenset(refused), corrupt == 0)
        self.oracle.listed[name] = self.oracle.all[etag] = version

    @rule(name=NAMES)
    def delete(self, name):
        (self.lake.raw / name).unlink(missing_ok=True)
        self.oracle.listed.pop(name, None)

    @precondition(lambda self: self.exists)
    @rule()
    def optimize(self):
        TableOf(self.lake.table_uri).optimize()

    @precondition(lambda self: self.exists)
    @rule()
    def vacuum(self):
        """Change data goes with it, so that the feed begins behind it."""
        TableOf(self.lake.table_uri).vacuum(0, dry_run=False)
        self.feed_from, self.before_feed = DeltaTable(self.lake.table_uri).version() + 1, self.ids()

    @precondition(lambda self: self.exists)
    @rule()
    def lose_the_ledger(self):
        shutil.rmtree(self.lake.ledger().identity.ledger_uri, ignore_errors=True)

    @precondition(lambda self: self.exists)
    @rule(name=NAMES)
    def reset(self, name):
        rows = self.lake.ledger_rows()
        rows = rows.filter(pc.equal(rows["uri"], self.lake.uri(name)))
        self.lake.ledger().reset(rows, now=self.lake.now)

    # Imports, withdrawals

    @rule(point=POINTS, passes=PASSES)
    def import_that_may_crash(self, point, passes):
        self.arm(point, passes)
        try:
            self.lake.run()
        except Crash:
            return
        finally:
            self.disarm()
        self.check()

    @precondition(lambda self: self.exists)
    @rule(which=st.integers(0, 30), point=POINTS | st.just(""), passes=PASSES)
    def withdraw_that_may_crash(self, which, point, passes):
        recorded = self.lake.ledger().recorded()
        if not recorded:
            return
        batch = 1 + which % recorded
        self.oracle.asked |= set(self.lake.ledger().rows(f"batch = {batch}")["etag"].to_pylist())
        if point:
            self.arm(point, passes)
        try:
            withdraw(self.lake.context(), batches=[batch])
        except Crash:
            return
        except ImportFailed as error:
            if "not finished" not in error.message and "no batch" not in error.message:
                raise
        finally:
            self.disarm()

    @rule()
    def import_to_the_end(self):
        self.lake.run()
        self.check()

    def check(self) -> None:
        """Table and quarantine against what is listed."""
        if not self.exists:
            assert not self.oracle.listed
            return
        ids = self.ids()
        found = self.lake.quarantined("object_etag", "row")
        refused = Counter((row["object_etag"], row["row"]) for row in found)
        assert set(ids.values()) <= {1}, ids
        assert set(refused.values()) <= {1}, refused
        outcomes = {row["etag"]: row["outcome"] for row in self.lake.ledger_rows().to_pylist()}
        shown = self.shown(outcomes)
        assert set(ids) == {number for version in shown for number in version.ids}
        assert set(refused) == {(version.etag, row) for version in shown for row in version.refused}
        self.check_feed(ids)

    def ids(self) -> Counter[int]:
        return Counter(self.lake.rows("id") if "id" in self.lake.schema() else [])

    def shown(self, outcomes: dict[str, str]) -> list[Version]:
        """The versions whose rows must be there, one a name."""
        found = []
        for name, version in self.oracle.listed.items():
            outcome = outcomes[version.etag]
            if version.corrupt:
                assert outcome == "failed", (name, outcome)
                before = [v for v in self.oracle.all.values() if v.name == name and not v.corrupt]
                loaded = [v for v in before if outcomes.get(v.etag) in ("loaded", "partly_loaded")]
                assert len(loaded) <= 1
                found += loaded
            elif outcome == "withdrawn":
                assert version.etag in self.oracle.asked
            else:
                assert outcome == ("partly_loaded" if version.refused else "loaded"), (name, outcome)
                found.append(version)
        return found

    def check_feed(self, ids: Counter[int]) -> None:
        """What was there when the feed began, with its inserts, less its deletes, is what is there."""
        table = DeltaTable(self.lake.table_uri)
        if not self.feed or table.version() < self.feed_from:
            return
        feed = pa.table(table.load_cdf(starting_version=self.feed_from).read_all())
        total = Counter(self.before_feed)
        for kind, number in zip(feed["_change_type"].to_pylist(), feed["id"].to_pylist(), strict=True):
            total[number] += {"insert": 1, "delete": -1}[kind]
        assert +total == ids
        assert not -total


TestMirrorMachine = MirrorMachine.TestCase
TestMirrorMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
