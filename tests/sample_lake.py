"""A small lake with an oracle: what must be in table, quarantine and ledger after an exactly-once import."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

import lakeray
from lakeray.config import Settings
from lakeray.importer.identity import pipeline_id
from lakeray.importer.recording.ledger import latest
from lakeray.lake import Lake
from lakeray.objects import delta_uri, join, open_store, relative, storage_options
from lakeray.runtime.summary import RunSummary
from tests import commands

MALFORMED = b'{"id": 1, "amount": \n'
WITHIN_S = 240
_CHECKED = ("read", "written", "quarantined", "dropped", "filtered")


@dataclass
class SampleLake:
    """JSON lines under ``root``: unique ids, some malformed lines, some rows that the workflow refuses, filters, drops.

    ``plan`` goes into the step's ``import``, ``extra`` into the step, ``source`` and ``table`` into these; ``tables``
    are others. Lakes with another ``name`` and the same ``root`` are other workflows that import into the same table.
    """

    root: str
    folder: Path
    seed: int = 7
    batch_objects: int = 3
    mode: str = "append"
    extra: str = ""
    plan: str = ""
    source: str = ""
    table: str = ""
    tables: str = ""
    name: str = "orders"
    small: int = 1000
    first_id: int = 0
    ids: Counter[int] = field(default_factory=Counter)
    refused: Counter[tuple[str, int]] = field(default_factory=Counter)
    uris: list[str] = field(default_factory=list)
    ids_of: dict[str, Counter[int]] = field(default_factory=dict)
    refused_of: dict[str, Counter[tuple[str, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._last_id = self.first_id

    @property
    def source_uri(self) -> str:
        return join(self.root, f"raw-{self.name}", "")

    @property
    def table_uri(self) -> str:
        return join(self.root, "orders")

    @property
    def quarantine_uri(self) -> str:
        return self.table_uri + "_quarantine"

    @property
    def import_folder(self) -> str:
        """Where manifests, results and the ledger are."""
        return join(self.table_uri, "_lakeray", str(pipeline_id("acme", self.name)), "ingest")

    @property
    def workflow(self) -> Path:
        path = self.folder / f"{self.name}.yaml"
        options = (
            f"mode: {self.mode}, batch: {{max_objects: {self.batch_objects}}}{', ' if self.plan else ''}{self.plan}"
        )
        text = f"""
workflow: {self.name}
tenant: acme
sources:
  raw: {{uri: "{self.source_uri}", format: json, schema_hints: {{id: int64, amount: double}}{self.source}}}
tables:
  orders: {{uri: "{self.table_uri}"{self.table}}}
{self.tables}
steps:
  ingest:
    import: {{from: raw, into: orders, {options}}}
    where: "status <> 'test'"
    expect:
      positive: {{sql: "amount > 0", on_violation: drop}}
      small: {{sql: "amount < {self.small}", on_violation: quarantine}}
{self.extra}
"""
        # Put there whole: another importer may be starting with it.
        whole = path.with_suffix(f".{os.getpid()}.tmp")
        whole.write_text(text)
        whole.replace(path)
        return path

    def add(self, name: str, rows: int = 20) -> str:
        """One more object, or another version of one that is there."""
        uri = join(self.source_uri, name)
        if uri in self.ids_of:
            self.remove(uri)
        ids: Counter[int] = Counter()
        refused: Counter[tuple[str, int]] = Counter()
        lines = [self._line(uri, line, ids, refused) for line in range(1, rows + 1)]
        open_store(uri).put(uri, b"".join(lines))
        self.ids += ids
        self.refused += refused
        self.ids_of[uri], self.refused_of[uri] = ids, refused
        self.uris.append(uri)
        return uri

    def _line(self, uri: str, line: int, ids: Counter[int], refused: Counter[tuple[str, int]]) -> bytes:
        kind = self.random.random()
        if kind < 0.05:
            refused[uri, line] += 1
            return MALFORMED
        self._last_id += 1
        row = {"id": self._last_id, "amount": 10.5, "status": "paid", "note": f"n{self._last_id % 5}"}
        row |= self.more(self._last_id)
        if kind < 0.10:
            row["status"] = "test"
        elif kind < 0.15:
            row["amount"] = -1.0
        elif kind < 0.20:
            row["amount"] = 5000.0
            refused[uri, line] += 1
        else:
            ids[self._last_id] += 1
        return json.dumps(row).encode() + b"\n"

    def more(self, number: int) -> dict[str, Any]:
        """What else the row of that id holds."""
        return {}

    def remove(self, uri: str) -> None:
        """Delete an object of the source, with what the oracle knows of it."""
        open_store(uri).delete(uri)
        self.ids -= self.ids_of.pop(uri)
        self.refused -= self.refused_of.pop(uri)
        self.uris.remove(uri)

    def environment(self, **env: str) -> dict[str, str]:
        """In-process tasks and, as what is tested is in the lake, a state of each process's own; ``env`` may say
        otherwise.
        """
        state = f"sqlite:///{self.folder}/state-{uuid.uuid4().hex[:8]}.db"
        mine = {"LAKERAY_EXECUTOR": "inline", "LAKERAY_STATE": state}
        return {**os.environ, **mine, **env}

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str] | commands.Started:
        """Start `lakeray run`, or `lakeray` with ``arguments``, as the leader of a new process group.

        Where Ray plays a part the process starts from nothing, as a user's does.
        """
        arguments = arguments or ("run", str(self.workflow), "--json")
        environment = self.environment(**env)
        if environment["LAKERAY_EXECUTOR"] == "inline":
            return commands.lakeray(*arguments, env=environment, cwd=self.folder)
        return subprocess.Popen(
            [sys.executable, "-m", "lakeray", *arguments],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def command(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `lakeray` to its end."""
        return finished(self.start(*arguments, **env))

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        """`lakeray run` in a process of its own."""
        return self.command(**env)

    def run_to_the_end(self) -> None:
        """The same, which must succeed."""
        done = self.run()
        assert done.returncode == 0, done.stdout + done.stderr

    def connect(self) -> Lake:
        """A lake in this process, without Ray."""
        return lakeray.connect(settings=Settings(executor="inline", catalog=str(self.folder / "catalog")))

    def import_here(self) -> RunSummary:
        """A run in this process, however it ends."""
        return self.connect().run(self.workflow).result(timeout=WITHIN_S)

    def import_well(self) -> RunSummary:
        """A run in this process, which must succeed."""
        summary = self.import_here()
        assert summary.state == "succeeded", summary.errors
        return summary

    def read(self, uri: str) -> pa.Table:
        return read(uri)

    def check(self) -> None:
        """Table, quarantine and ledger equal the oracle as multisets."""
        check_together([self])

    def table_ids(self) -> Counter[int]:
        """What the table holds."""
        return Counter(read(self.table_uri)["id"].to_pylist())

    def quarantined(self) -> Counter[tuple[str, int]]:
        """What the quarantine holds."""
        if not DeltaTable.is_deltatable(delta_uri(self.quarantine_uri), storage_options(self.quarantine_uri)):
            return Counter()
        rows = read(self.quarantine_uri)
        return Counter(zip(rows["object_uri"].to_pylist(), rows["row"].to_pylist(), strict=True))

    def check_ledger(self) -> None:
        """The ledger says of each object what the oracle says."""
        ledger = latest(read(self.ledger_uri()))
        assert sorted(ledger["uri"].to_pylist()) == sorted(self.uris)
        assert set(ledger["outcome"].to_pylist()) <= {"loaded", "partly_loaded"}
        total = {name: sum(ledger[f"rows_{name}"].to_pylist()) for name in _CHECKED}
        assert total["read"] == total["written"] + total["quarantined"] + total["dropped"] + total["filtered"]
        assert (total["written"], total["quarantined"]) == (self.ids.total(), self.refused.total())

    def check_folder(self) -> None:
        """No manifest or result is torn; batches are numbered densely; each was committed once."""
        numbers = []
        for path, data in self.records():
            whole = json.loads(data)
            if path.startswith("manifests/"):
                numbers.append(whole["batch"])
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        batches = [int(entry["lakeray.batch"]) for entry in self.commits() if "lakeray.batch" in entry]
        assert sorted(batches) == sorted(set(batches)) == sorted(numbers)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Manifests and results: their path in the import's folder, their bytes."""
        store = open_store(self.import_folder)
        for page in store.list(join(self.import_folder, "")):
            for uri in page["uri"].to_pylist():
                path = relative(uri, self.import_folder)
                if path.startswith(("manifests/", "results/")):
                    yield path, store.read(uri)

    def commits(self) -> list[dict[str, str]]:
        """What the commits of this import to the table say, the newest first."""
        entries = self.connect().table(self.table_uri).history(10_000)
        mine = {path.removeprefix("results/") for path, _ in self.records()}
        return [entry["metadata"] for entry in entries if entry["metadata"].get("lakeray.result") in mine]

    def versions(self) -> list[str]:
        """Operations of the table's commits, the oldest first."""
        return [entry["operation"] for entry in self.connect().table(self.table_uri).history(10_000)][::-1]

    def ledger_uri(self) -> str:
        return join(self.import_folder, "ledger")


def check_together(lakes: list[SampleLake]) -> None:
    """Lakes that share a table: it and its quarantine hold the rows of all, each ledger those of its own."""
    assert lakes[0].table_ids() == sum((lake.ids for lake in lakes), Counter())
    assert lakes[0].quarantined() == sum((lake.refused for lake in lakes), Counter())
    for lake in lakes:
        lake.check_ledger()
        lake.check_folder()


def finished(
    process: subprocess.Popen[str] | commands.Started, within_s: float = WITHIN_S
) -> subprocess.CompletedProcess[str]:
    """The process at its end; it is killed when that does not come."""
    try:
        out, err = process.communicate(timeout=within_s)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextmanager
def killed_at_the_end(*processes: subprocess.Popen[str] | commands.Started) -> Iterator[None]:
    """No process outlives the block, frozen ones neither."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


def data_files(table_uri: str) -> set[str]:
    """Parquet files in a table's folder, live or not, without those of its log and of lakeray's own."""
    found = set()
    for page in open_store(table_uri).list(join(table_uri, "")):
        paths = [relative(uri, table_uri) for uri in page["uri"].to_pylist()]
        found |= {path for path in paths if path.endswith(".parquet") and not path.startswith("_")}
    return found


def live(table_uri: str) -> set[str]:
    """Parquet files that the table's newest version names."""
    table = DeltaTable(delta_uri(table_uri), storage_options=storage_options(table_uri))
    return set(pa.table(table.get_add_actions())["path"].to_pylist())


def read(uri: str) -> pa.Table:
    """All rows, by delta-rs alone."""
    table = DeltaTable(delta_uri(uri), storage_options=storage_options(uri))
    rows = pa.table(QueryBuilder().register("t", table).execute("select * from t").read_all())
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return rows.cast(pa.schema([pa.field(f.name, plain.get(f.type, f.type)) for f in rows.schema]))
