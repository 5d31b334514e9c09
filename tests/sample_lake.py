"""A small lake with an oracle: what must be in table, quarantine and ledger after everything was imported exactly once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from lakeray.importer.ledger import latest
from lakeray.objects import delta_uri, join, open_store, storage_options

MALFORMED = b'{"id": 1, "amount": \n'


@dataclass
class SampleLake:
    """JSON lines under ``root``: unique ids, some malformed lines, some amounts that the workflow refuses, filters or drops."""

    root: str
    folder: Path
    seed: int = 7
    batch_objects: int = 3
    mode: str = "append"
    extra: str = ""
    ids: Counter[int] = field(default_factory=Counter)
    refused: Counter[tuple[str, int]] = field(default_factory=Counter)
    uris: list[str] = field(default_factory=list)
    _next: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def source_uri(self) -> str:
        return join(self.root, "raw", "")

    @property
    def table_uri(self) -> str:
        return join(self.root, "orders")

    @property
    def quarantine_uri(self) -> str:
        return self.table_uri + "_quarantine"

    @property
    def workflow(self) -> Path:
        path = self.folder / "orders.yaml"
        path.write_text(
            f"""
workflow: orders
tenant: acme
sources:
  raw: {{uri: "{self.source_uri}", format: json, schema_hints: {{id: int64, amount: double}}}}
tables:
  orders: {{uri: "{self.table_uri}"}}
steps:
  ingest:
    import: {{from: raw, into: orders, mode: {self.mode}, batch: {{max_objects: {self.batch_objects}}}}}
    where: "status <> 'test'"
    expect:
      positive: {{sql: "amount > 0", on_violation: drop}}
      small: {{sql: "amount < 1000", on_violation: quarantine}}
{self.extra}
"""
        )
        return path

    def add(self, name: str, rows: int = 20) -> str:
        """One more object."""
        uri = join(self.root, "raw", name)
        lines = []
        for line in range(1, rows + 1):
            kind = self.random.random()
            if kind < 0.05:
                lines.append(MALFORMED)
                self.refused[uri, line] += 1
                continue
            self._next += 1
            row = {"id": self._next, "amount": 10.5, "status": "paid", "note": f"n{self._next % 5}"}
            if kind < 0.10:
                row["status"] = "test"
            elif kind < 0.15:
                row["amount"] = -1.0
            elif kind < 0.20:
                row["amount"] = 5000.0
                self.refused[uri, line] += 1
            else:
                self.ids[self._next] += 1
            lines.append(json.dumps(row).encode() + b"\n")
        open_store(uri).put(uri, b"".join(lines))
        self.uris.append(uri)
        return uri

    def command(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `lakeray` with the in-process executor unless ``env`` says otherwise."""
        return subprocess.run(
            [sys.executable, "-m", "lakeray", *arguments],
            env={**os.environ, "LAKERAY_EXECUTOR": "inline", "LAKERAY_STATE": f"sqlite:///{self.folder}/state.db", **env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.command("run", str(self.workflow), "--json", **env)

    def run_to_the_end(self) -> None:
        done = self.run()
        assert done.returncode == 0, done.stdout + done.stderr

    def read(self, uri: str) -> pa.Table:
        return read(uri)

    def check(self) -> None:
        """Table, quarantine and ledger equal the oracle as multisets."""
        table = read(self.table_uri)
        assert Counter(table["id"].to_pylist()) == self.ids
        found: Counter[tuple[str, int]] = Counter()
        if self.refused:
            quarantine = read(self.quarantine_uri)
            found = Counter(zip(quarantine["object_uri"].to_pylist(), quarantine["row"].to_pylist(), strict=True))
        assert found == self.refused
        ledger = latest(read(self.ledger_uri()))
        assert sorted(ledger["uri"].to_pylist()) == sorted(self.uris)
        assert set(ledger["outcome"].to_pylist()) <= {"loaded", "partly_loaded"}
        total = {name: sum(ledger[f"rows_{name}"].to_pylist()) for name in ("read", "written", "quarantined", "dropped", "filtered")}
        assert total["read"] == total["written"] + total["quarantined"] + total["dropped"] + total["filtered"]
        assert (total["written"], total["quarantined"]) == (self.ids.total(), self.refused.total())

    def ledger_uri(self) -> str:
        folder = join(self.table_uri, "_lakeray", "")
        for page in open_store(folder).list(folder):
            for uri in page["uri"].to_pylist():
                if "/ledger/_delta_log/" in uri:
                    return uri.split("/_delta_log/")[0]
        raise AssertionError(f"no ledger under {folder}")


def read(uri: str) -> pa.Table:
    """All rows, by delta-rs alone."""
    table = DeltaTable(delta_uri(uri), storage_options=storage_options(uri))
    rows = pa.table(QueryBuilder().register("t", table).execute("select * from t").read_all())
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return rows.cast(pa.schema([pa.field(f.name, plain.get(f.type, f.type)) for f in rows.schema]))
