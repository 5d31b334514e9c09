"""Counts of imports for Prometheus, with labels that stay few."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, write_to_textfile

OUTCOMES = ("loaded", "partly_loaded", "failed", "superseded", "skipped", "poison")
FATES = ("written", "quarantined", "dropped", "filtered", "deduplicated", "rescued")
MOST_STEPS = 200
OTHER = "other"

# From one new small object on a warm cluster to a batch of many gigabytes.
_BATCH_BUCKETS_S = (0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)


class ImportMetrics:
    """Prometheus metrics of imports in a registry of their own.

    Labels are workflow, step, ledger outcome or row fate: names a person wrote, never a run, a batch or a path. Beyond
    ``most_steps`` pairs of workflow with step, further ones are counted as ``other``; so are unknown outcomes.
    Thread-safe.
    """

    def __init__(self, *, most_steps: int = MOST_STEPS) -> None:
        self.registry = CollectorRegistry()
        self._most_steps = most_steps
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str]] = set()
        where = ("workflow", "step")
        self._objects = self._counter("objects", "Object versions by ledger outcome.", (*where, "outcome"))
        self._rows = self._counter("rows", "Rows by what became of them.", (*where, "fate"))
        self._read = self._counter("read_bytes", "Bytes of objects read.", where)
        self._written = self._counter("written_bytes", "Bytes of data files committed.", where)
        self._lost = self._counter("batches_lost", "Batches that another importer committed first.", where)
        self._errors = self._counter("errors", "Imports that ended with an error.", (*where, "code"))
        self._last = Gauge(
            "lakeray_import_last_commit_timestamp_seconds",
            "When a batch was last committed.",
            where,
            registry=self.registry,
        )
        self._duration = Histogram(
            "lakeray_import_batch_duration_seconds",
            "From the plan of a batch to its record.",
            where,
            buckets=_BATCH_BUCKETS_S,
            registry=self.registry,
        )

    def batch(
        self,
        *,
        workflow: str,
        step: str,
        objects: Mapping[str, int],
        rows: Mapping[str, int],
        bytes_read: int,
        bytes_written: int,
        duration_s: float,
        won: bool = True,
    ) -> None:
        """Count one finished batch: objects by ledger outcome, rows by fate (other keys are left out)."""
        where = self._where(workflow, step)
        if not won:
            self._lost.labels(*where).inc()
            return
        for outcome, number in objects.items():
            self._objects.labels(*where, outcome if outcome in OUTCOMES else OTHER).inc(number)
        for fate in FATES:
            if rows.get(fate):
                self._rows.labels(*where, fate).inc(rows[fate])
        self._read.labels(*where).inc(bytes_read)
        self._written.labels(*where).inc(bytes_written)
        self._duration.labels(*where).observe(duration_s)
        self._last.labels(*where).set_to_current_time()

    def error(self, *, workflow: str, step: str, code: str) -> None:
        """Count an import that ended with an error; ``code`` is that of a ``LakerayError``."""
        self._errors.labels(*self._where(workflow, step), code).inc()

    def render(self) -> str:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry).decode()

    def write(self, path: str) -> None:
        """Replace the file at ``path`` by ``render()``, whole or not at all."""
        write_to_textfile(path, self.registry)

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"lakeray_import_{name}", help_text, labels, registry=self.registry)

    def _where(self, workflow: str, step: str) -> tuple[str, str]:
        pair = (workflow, step)
        with self._lock:
            if pair not in self._seen and len(self._seen) >= self._most_steps:
                return (OTHER, OTHER)
            self._seen.add(pair)
        return pair
