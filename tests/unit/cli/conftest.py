"""A lake that remembers what it was asked, so that the command line is tested alone."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pydantic import Field

from lakeray.cli.entry import execute
from lakeray.delta.vacuum import StaleFile
from lakeray.importer.recording.summary import BatchSummary, ImportSummary, ObjectProblem, Rows, Summary
from lakeray.runtime.durable.runs import EventLine, RunLine
from lakeray.runtime.summary import RunSummary, StepSummary

START = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)


def run_summary(state: str = "succeeded", **changes: Any) -> RunSummary:
    """A run of one import step with one batch and one bad object."""
    rows = Rows(read=100, written=90, quarantined=6, dropped=4)
    batch = BatchSummary(
        number=1, objects=5, rows=rows, bytes_read=9_000, bytes_written=4_000, files=1, table_version=3, duration_s=0.5
    )
    imported = ImportSummary(
        step="ingest",
        source="raw",
        source_uri="/lake/raw",
        table="orders",
        table_uri="/lake/orders",
        quarantine_uri="/lake/orders_quarantine",
        mode="append",
        batches=[batch],
        objects={"loaded": 4, "failed": 1},
        rows=rows,
        bytes_read=9_000,
        bytes_written=4_000,
        files=1,
        listed=5,
        problems=[ObjectProblem(uri="/lake/raw/x.json.gz", outcome="failed", error="cut off")],
        started_at=START,
        duration_s=0.6,
    )
    step = StepSummary(name="ingest", kind="import", state=state, duration_s=0.6, imported=imported)  # type: ignore[arg-type]
    values = {
        "run_id": "r1",
        "workflow": "orders",
        "tenant": "default",
        "state": state,
        "started_at": START,
        "duration_s": 0.7,
    }
    return RunSummary.model_validate(values | {"steps": [step]} | changes)


class PlanSummary(Summary):
    """As the lake answers."""

    step: str = "ingest"
    source_uri: str = "/lake/raw"
    table_uri: str = "/lake/orders"
    table_exists: bool = True
    listed: int = 12
    new: int = 7
    changed: int = 1
    deleted: int = 0
    known: int = 5
    pending_batch: int | None = None
    batches: int = 1
    size_bytes: int = 12_345
    samples: list[str] = Field(default_factory=lambda: ["/lake/raw/a.json", "/lake/raw/b.json"])
    notes: list[str] = Field(default_factory=lambda: ["1 object changed"])


class DiscoverySummary(Summary):
    """As the lake answers."""

    source: str = "raw"
    uri: str = "/lake/raw"
    format: str = "json"
    objects: int = 12
    size_bytes: int = 12_345
    oldest: datetime | None = START
    newest: datetime | None = START
    columns: dict[str, str] = Field(default_factory=lambda: {"id": "int64", "name": "string"})
    new: int | None = 7
    changed: int | None = 0
    deleted: int | None = 0
    temporary_left_out: int = 2
    registered: str | None = None


class Check(Summary):
    """As the lake answers."""

    name: str
    ok: bool
    detail: str
    hint: str | None = None


class FakeRun:
    """Ends when ``over`` is set; cancelling sets it."""

    def __init__(self, lake: FakeLake) -> None:
        self._lake = lake
        self.over = threading.Event()
        self.summary = lake.summary
        if not lake.endless:
            self.over.set()

    def result(self, timeout: float | None = None) -> RunSummary:
        self._lake.waiting.set()
        if not self.over.wait(timeout):
            raise TimeoutError
        if isinstance(self._lake.run_error, Exception):
            raise self._lake.run_error
        return self.summary

    @property
    def done(self) -> bool:
        return self.over.is_set()

    def cancel(self) -> None:
        self._lake.asked.append(("cancel",))
        self.summary = run_summary("cancelled")
        self.over.set()


@dataclass
class FakeWorkflow:
    """What the command line reads of a workflow."""

    workflow: str = "orders"
    schedule: object = None


@dataclass
class FakeLake:
    """Answers with what a test put into it; ``asked`` lists every call."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    error: Exception | None = None
    run_error: Exception | None = None
    summary: RunSummary = field(default_factory=run_summary)
    endless: bool = False
    waiting: threading.Event = field(default_factory=threading.Event)
    schedule: object = None
    plans: list[PlanSummary] = field(default_factory=lambda: [PlanSummary()])
    rows: pa.Table = field(
        default_factory=lambda: pa.table({"object_uri": ["/lake/raw/a\x1b[2Jb"], "rows_read": [1_234]})
    )
    checks: list[Check] = field(default_factory=lambda: [Check(name="python", ok=True, detail="3.11")])
    on_run: Callable[[], None] = lambda: None
    observer: Any = None

    def _ask(self, *call: Any) -> None:
        self.asked.append(call)
        if self.error is not None:
            raise self.error

    def validate(self, file: Any) -> FakeWorkflow:
        self._ask("validate", file)
        return FakeWorkflow(schedule=self.schedule)

    def run(self, file: Any, *, steps: list[str] | None = None, continuous: bool = False) -> FakeRun:
        self._ask("run", file, steps, continuous)
        self.on_run()
        return FakeRun(self)

    def plan(self, file: Any, *, steps: list[str] | None = None) -> list[PlanSummary]:
        self._ask("plan", file, steps)
        return self.plans

    def discover(
        self, file: Any, *, source: str | None = None, register: bool = False, schema_diff: str = "none"
    ) -> list[DiscoverySummary]:
        self._ask("discover", file, source, register, *([] if schema_diff == "none" else [schema_diff]))
        return [DiscoverySummary(registered="here" if register else None)]

    def quarantine(self, file: Any, *, table: str | None = None, step: str | None = None) -> FakeQuarantine:
        self._ask("quarantine", file, table, step)
        return FakeQuarantine(self)

    def ledger(self, file: Any, *, step: str | None = None) -> FakeLedger:
        self._ask("ledger", file, step)
        return FakeLedger(self)

    def withdraw(self, file: Any, *, step: Any = None, batches: Any = None, run_id: Any = None) -> BatchSummary | None:
        self._ask("withdraw", file, step, batches, run_id)
        return self.summary.steps[0].imported.batches[0] if batches else None

    def table(self, file_or_uri: Any, name: str | None = None) -> FakeTable:
        self._ask("table", file_or_uri, name)
        return FakeTable(self)

    def doctor(self, file: Any = None) -> list[Check]:
        self._ask("doctor", file)
        return self.checks

    @property
    def runs(self) -> FakeRuns:
        return FakeRuns(self)

    def close(self) -> None:
        self.asked.append(("close",))


@dataclass
class FakeRuns:
    """The facade of durable runs."""

    lake: FakeLake

    def list(self, **wanted: Any) -> list[RunLine]:
        self.lake._ask("runs", {name: value for name, value in wanted.items() if value is not None})
        return [RunLine(run_id="r1", workflow="orders", tenant="default", state="waiting", started_at=START)]

    def show(self, run_id: str, *, archive: str | None = None) -> RunSummary:
        self.lake._ask("show run", run_id)
        return self.lake.summary

    def events(self, run_id: str, *, after: int = 0) -> list[EventLine]:
        self.lake._ask("events", run_id, after)
        return [EventLine(sequence=1, at=START, event="GateOpened", said={"step": "release"})][after:]

    def replay_check(self, run_id: str) -> list[Any]:
        self.lake._ask("replay_check", run_id)
        return []

    def __getattr__(self, verb: str) -> Callable[..., FakeRun]:
        def steer(run_id: str, **said: Any) -> FakeRun:
            self.lake._ask(verb, run_id, {name: value for name, value in said.items() if value is not None})
            return FakeRun(self.lake)

        return steer


@dataclass
class FakeLedger:
    """The ledger's facade."""

    lake: FakeLake

    def show(self, outcome: Any = None, uri_glob: Any = None, batch: Any = None, limit: int = 100) -> pa.Table:
        self.lake.asked.append(("show", outcome, uri_glob, batch, limit))
        return self.lake.rows

    def reset(self, uri_glob: Any = None, batches: Any = None, outcomes: Any = None) -> int:
        self.lake.asked.append(("reset", uri_glob, batches, outcomes))
        return 3

    def abandon(self) -> int:
        self.lake.asked.append(("abandon",))
        return 4

    def rebuild(self) -> int:
        self.lake.asked.append(("rebuild",))
        return 12


@dataclass
class FakeQuarantine:
    """The quarantine's facade."""

    lake: FakeLake

    def _asked(self, what: str, chosen: dict[str, Any], *more: Any) -> None:
        self.lake.asked.append((what, {name: value for name, value in chosen.items() if value is not None}, *more))

    def show(self, *, limit: int = 100, **chosen: Any) -> pa.Table:
        self._asked("refused", chosen, limit)
        return self.lake.rows

    def count(self, **chosen: Any) -> pa.Table:
        self._asked("count", chosen)
        return pa.table({"rule": ["expect:small"], "rows": [7]})

    def reprocess(self, **chosen: Any) -> FakeRun:
        self._asked("reprocess", chosen)
        return FakeRun(self.lake)

    def purge(self, *, dry_run: bool = True, **chosen: Any) -> int:
        self._asked("purge", chosen, dry_run)
        return 7


@dataclass
class FakeTable:
    """The table's facade."""

    lake: FakeLake

    def history(self, limit: int) -> list[dict[str, Any]]:
        self.lake.asked.append(("history", limit))
        return [{"version": 3, "timestamp": START, "operation": "WRITE", "operationParameters": {"mode": "Append"}}]

    def optimize(self, target_size: int | None = None, **more: Any) -> dict[str, Any]:
        self.lake.asked.append(("optimize", target_size, *(value for value in more.values() if value)))
        return {"numFilesAdded": 1}

    def stale_files(self, retention_hours: float, dry_run: bool) -> list[StaleFile]:
        self.lake.asked.append(("vacuum", retention_hours, dry_run))
        return [StaleFile(path="part-1.parquet", kind="orphan", size_bytes=1_234)]

    def checkpoint(self, clean_log: bool = False) -> dict[str, Any]:
        self.lake.asked.append(("checkpoint", clean_log))
        return {"version": 3}

    def restore(self, version: int) -> dict[str, Any]:
        self.lake.asked.append(("restore", version))
        return {"numRestoredFile": 2}


@dataclass(frozen=True)
class Told:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it is."""
        return json.loads(self.out)


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> FakeLake:
    """The lake that commands will find."""
    fake = FakeLake()

    def connect(*, settings: object = None, observer: object = None) -> FakeLake:
        fake.observer = observer
        return fake

    module = types.ModuleType("lakeray.lake")
    module.connect = connect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lakeray.lake", module)
    monkeypatch.delenv("LAKERAY_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    return fake


@pytest.fixture
def tell(capfd: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Run the command line in this process."""

    def told(*arguments: str) -> Told:
        capfd.readouterr()
        code = execute(arguments)
        captured = capfd.readouterr()
        return Told(code, captured.out, captured.err)

    return told
