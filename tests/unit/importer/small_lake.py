"""A lake of a few local objects, imported by the in-process executor, looked at by delta-rs alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakeray.delta.table import open_table
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import InlineExecutor, Task, Told
from lakeray.importer.loop import ImportLoop
from lakeray.importer.recording.ledger import Ledger, latest
from lakeray.importer.recording.summary import ImportSummary
from lakeray.observability.progress import Silent
from lakeray.spec.load import load_workflow
from lakeray.spec.model import Workflow
from tests.sample_lake import read

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


class ManySlots(InlineExecutor):
    """Still one task after the other, but the objects are spread over several tasks."""

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        return super().run(tasks)


def lines(*rows: Any) -> bytes:
    """JSON lines; a bytes value stands as it is."""
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


@dataclass
class SmallLake:
    """``source``, ``table`` and ``step`` are laid over what an import needs at least."""

    folder: Path
    source: dict[str, Any] = field(default_factory=dict)
    table: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    more_tables: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    slots: int = 1
    now: datetime = NOW
    memory: int = 64 * 2**20

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def table_uri(self) -> str:
        return str(self.folder / "silver" / "t")

    @property
    def quarantine_uri(self) -> str:
        return f"{self.table_uri}_quarantine"

    def put(self, name: str, data: bytes) -> Path:
        """Write or overwrite an object of the source."""
        path = self.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def uri(self, name: str) -> str:
        return str(self.raw / name)

    def workflow(self) -> Workflow:
        text = {
            "workflow": "w",
            "tenant": "acme",
            "sources": {"s": {"uri": f"{self.raw}/", "format": "json", **self.source}},
            "tables": {"t": {"uri": self.table_uri, **self.table}, **self.more_tables},
            "steps": {"ingest": {"import": {"from": "s", "into": "t", **self.plan}, **self.step}},
        }
        return load_workflow(json.dumps(text, indent=1))

    def context(self) -> ImportContext:
        workflow = self.workflow()
        return ImportContext(
            tenant=workflow.tenant,
            workflow=workflow.workflow,
            run_id="run-1",
            step_name="ingest",
            step=workflow.steps["ingest"],
            source=workflow.sources["s"],
            table=workflow.tables["t"],
            tables=workflow.tables,
            executor=ManySlots(self.slots),
            observer=Silent(),
            now=lambda: self.now,
            keys=self.keys,
            task_memory_bytes=self.memory,
        )

    def run(self, **drain: Any) -> ImportSummary:
        """One import to its end. Raises what stops it."""
        loop = ImportLoop(self.context())
        loop.drain(**drain)
        return loop.tally.summary()

    def rows(self, *columns: str) -> list[Any]:
        """The table's rows (of one column its values), in any order."""
        return _picked(read(self.table_uri), columns)

    def count(self) -> int:
        """How many rows the table has, whatever is in them."""
        return read(self.table_uri).num_rows

    def quarantined(self, *columns: str) -> list[Any]:
        """Likewise of the quarantine; none when there is no such table."""
        return _picked(read(self.quarantine_uri), columns) if open_table(self.quarantine_uri) else []

    def schema(self) -> dict[str, str]:
        """The table's columns."""
        handle = open_table(self.table_uri)
        assert handle is not None
        return {item.name: str(item.type) for item in handle.schema}

    def ledger(self) -> Ledger:
        context = self.context()
        handle = open_table(self.table_uri)
        assert handle is not None
        return Ledger(context.identity(handle))

    def ledger_rows(self) -> pa.Table:
        """The row that counts of each object version."""
        return latest(self.ledger().rows())

    def outcomes(self) -> dict[str, str]:
        """Outcome by the object's name below the source."""
        rows = self.ledger_rows()
        names = [uri.removeprefix(f"{self.raw}/") for uri in rows["uri"].to_pylist()]
        assert len(names) == len(set(names)), "several versions: look at ledger_rows()"
        return dict(zip(names, rows["outcome"].to_pylist(), strict=True))

    def entry(self, name: str) -> dict[str, Any]:
        """The ledger row of one object."""
        (found,) = [row for row in self.ledger_rows().to_pylist() if row["uri"] == self.uri(name)]
        return found

    def stray_files(self) -> set[str]:
        """Data files of table and quarantine that no version of theirs names."""
        found = set()
        for uri in (self.table_uri, self.quarantine_uri):
            live: set[str] = set()
            log = Path(uri) / "_delta_log"
            for entry in log.glob("*.json"):
                for line in entry.read_text().splitlines():
                    action = json.loads(line)
                    live |= {action["add"]["path"]} if "add" in action else set()
            there = {
                str(p.relative_to(uri))
                for p in Path(uri).rglob("*")
                if p.is_file() and not str(p.relative_to(uri)).startswith("_")
            }
            found |= there - live
        return found


def _picked(table: pa.Table, columns: tuple[str, ...]) -> list[Any]:
    if len(columns) == 1:
        return table[columns[0]].to_pylist()
    return table.select(list(columns) or table.column_names).to_pylist()


def balance(summary: ImportSummary) -> Counter[str]:
    """The non-zero terms of the balance."""
    return Counter({name: value for name, value in summary.rows.model_dump().items() if value})
