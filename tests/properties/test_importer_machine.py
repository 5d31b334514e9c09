"""A lake that is written to, damaged, compacted, reset and imported from always comes out as its model says.

Crash points: every name in ``EVERY_IMPORT`` and ``NEW_COLUMNS`` of ``lakeray.failpoints``, on its first to third pass.
The crash is an exception that nothing catches, which leaves the lake as a kill does, but for staged files that are
cleaned up on the way out. The model knows every object version ever written. After an import that reaches its end:

- every row of table and quarantine belongs to a version that the ledger calls loaded, as often as the ledger says;
- a version is loaded once, and once more for each reset that a later import carried out;
- what is listed now is settled: loaded, failed with its number of tries, or skipped because another version was there
  first.

``LAKERAY_PROPERTY_EXAMPLES`` sets how many histories are tried.
"""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from lakeray import failpoints
from tests.properties.crashes import Crash, LakeMachine, armed
from tests.unit.importer.small_lake import lines

STEPS = 25
NAMES = st.sampled_from(["a.json.gz", "b.json.gz", "k=1/c.json.gz", "k=2/d.json.gz", "z.json.gz"])
KINDS = st.lists(st.sampled_from("gggbx"), max_size=6)
CORRUPT = st.integers(0, 5)
POINTS = st.sampled_from([*failpoints.EVERY_IMPORT, *failpoints.NEW_COLUMNS])
LOADED = ("loaded", "partly_loaded")


@dataclass
class Version:
    """One object version, with what an import must make of it."""

    name: str
    etag: str
    ids: list[int]
    refused: list[int]
    corrupt: bool
    loads: int = 0
    pending: bool = True
    """An import since the last check may have loaded it once more."""
    sure: bool = True
    """The next import to reach its end must do so, if it is listed then."""


@dataclass
class Model:
    """``current`` is what is listed; ``versions`` all there ever was, by etag."""

    current: dict[str, Version] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)


class ImporterMachine(LakeMachine):
    @initialize(policy=st.sampled_from(["append", "ignore"]), slots=st.integers(1, 3), max_objects=st.integers(1, 4))
    def begin(self, policy, slots, max_objects):
        self.policy = policy
        self.begin_with(
            source={"changed_objects": policy, "schema_hints": {"id": "int64"}, "max_tries": 3, "partitions": "none"},
            plan={"batch": {"max_objects": max_objects}},
            slots=slots,
        )
        self.model = Model()

    # What happens to the lake

    @rule(name=NAMES, kinds=KINDS, corrupt=CORRUPT)
    def put(self, name, kinds, corrupt):
        self.write(name, kinds, corrupt)

    def write(self, name: str, kinds: list[str], corrupt: int) -> None:
        """A new object, or another version of one: good rows, malformed lines, new columns; one in six is cut short."""
        rows: list[Any] = []
        version = Version(name=name, etag="", ids=[], refused=[], corrupt=corrupt == 0)
        for number, kind in enumerate(kinds, 1):
            if kind == "b":
                rows.append(b'{"id": nonsense')
                version.refused.append(number)
                continue
            self.next_id += 1
            version.ids.append(self.next_id)
            rows.append({"id": self.next_id, **({f"x{self.next_id % 3}": self.next_id} if kind == "x" else {})})
        data = gzip.compress(lines(*rows))
        self.lake.put(name, data[:-9] if version.corrupt else data)
        version.etag = self.etag(name)
        assert version.etag not in self.model.versions
        self.model.current[name] = self.model.versions[version.etag] = version

    @rule(name=NAMES)
    def delete(self, name):
        (self.lake.raw / name).unlink(missing_ok=True)
        self.model.current.pop(name, None)

    @precondition(lambda self: self.exists)
    @rule()
    def lose_the_ledger(self):
        """A reset that no import carried out yet goes with it; all else comes back."""
        shutil.rmtree(self.lake.ledger().identity.ledger_uri, ignore_errors=True)
        for version in self.model.versions.values():
            version.sure = version.sure and version.loads == 0

    @precondition(lambda self: self.exists)
    @rule(name=NAMES)
    def reset(self, name):
        rows = self.lake.ledger_rows()
        loaded = pc.is_in(rows["outcome"], value_set=pa.array(LOADED))
        rows = rows.filter(pc.and_(pc.equal(rows["uri"], self.lake.uri(name)), loaded))
        self.lake.ledger().reset(rows, now=self.lake.now)
        history = self.lake.ledger().rows()
        for etag in rows["etag"].to_pylist():
            version = self.model.versions[etag]
            version.loads = sum(
                row["outcome"] in LOADED for row in history.filter(pc.equal(history["etag"], etag)).to_pylist()
            )
            version.pending = version.sure = True

    # Imports

    @rule(
        puts=st.lists(st.tuples(NAMES, KINDS, CORRUPT), min_size=1, max_size=4),
        point=POINTS,
        passes=st.sampled_from([1, 1, 1, 2, 3]),
    )
    def import_that_may_crash(self, puts, point, passes):
        for put in puts:
            self.write(*put)
        try:
            with armed(point, passes):
                self.lake.run()
        except Crash:
            return
        self.check()

    @rule()
    def import_to_the_end(self):
        self.lake.run()
        self.check()

    def check(self) -> None:
        """Table, quarantine and ledger against the model."""
        if not self.exists:
            assert not self.model.current
            return
        history = self.lake.ledger().rows().to_pylist()
        loads = Counter(row["etag"] for row in history if row["outcome"] in LOADED)
        ids: Counter[int] = Counter()
        refused: Counter[tuple[str, int]] = Counter()
        for version in self.model.versions.values():
            found = loads[version.etag]
            most = version.loads + (version.pending and not version.corrupt)
            assert version.loads <= found <= most, f"{version} was loaded {found} times"
            ids.update(dict.fromkeys(version.ids, found))
            refused.update({(version.etag, row): found for row in version.refused})
        assert set(loads) <= set(self.model.versions)
        self.check_what_is_listed(loads)
        assert Counter(self.lake.rows("id") if "id" in self.lake.schema() else []) == +ids
        quarantined = self.lake.quarantined("object_etag", "row")
        assert Counter((row["object_etag"], row["row"]) for row in quarantined) == +refused
        for version in self.model.versions.values():
            version.loads, version.pending, version.sure = loads[version.etag], False, False

    def check_what_is_listed(self, loads: Counter[str]) -> None:
        latest = {row["etag"]: row for row in self.lake.ledger_rows().to_pylist()}
        for version in self.model.current.values():
            entry = latest[version.etag]
            others = [
                other for other in self.model.versions.values() if other.name == version.name and other is not version
            ]
            if entry["outcome"] == "skipped":
                assert self.policy == "ignore"
                assert any(loads[other.etag] for other in others)
            elif version.corrupt:
                assert entry["outcome"] in ("failed", "poison")
                assert 1 <= entry["tries"] <= 3
                assert (entry["tries"] == 3) == (entry["outcome"] == "poison")
            else:
                assert entry["outcome"] == ("partly_loaded" if version.refused else "loaded")
                assert loads[version.etag] > version.loads or not version.sure


TestImporterMachine = ImporterMachine.TestCase
TestImporterMachine.settings = LakeMachine.settings_of(STEPS)
