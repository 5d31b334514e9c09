"""What an import step leaves in its run's history: numbers for gates, and as much of its summary as fits."""

from __future__ import annotations

from typing import Any

import msgspec

from lakeray.importer.recording.summary import ImportSummary
from lakeray.runtime.durable.calls import LARGEST_OUTPUT

_KEPT = ((100, 100), (20, 20), (5, 5), (1, 0))
"""How many batches and problems are kept, tried until the output is small enough."""
_LONGEST_ERROR = 300


def output_of_import(imported: ImportSummary) -> dict[str, Any]:
    """JSON values below 32 KiB: ``metrics`` and ``expectations`` as gates name them, ``import`` for the report."""
    numbers = {
        "metrics": metrics_of(imported),
        "expectations": {
            name: {"checked": found.checked, "violated": found.violated}
            for name, found in imported.expectations.items()
        }
        | {
            name: {"checked": each.checked, "violated": each.violated}
            for name, each in imported.set_expectations.items()
        },
    }
    for batches, problems in _KEPT:
        whole = {**numbers, "import": _cut(imported, batches, problems).model_dump(mode="json")}
        if len(msgspec.json.encode(whole)) <= LARGEST_OUTPUT:
            return whole
    return numbers


def metrics_of(imported: ImportSummary) -> dict[str, float]:
    """The numbers of an import step, by the names that gates have for them."""
    rows = imported.rows
    return {
        "pass_rate": imported.pass_rate,
        "rows_read": rows.read,
        "rows_generated": rows.generated,
        "rows_written": rows.written,
        "rows_quarantined": rows.quarantined,
        "rows_dropped": rows.dropped,
        "rows_filtered": rows.filtered,
        "rows_deduplicated": rows.deduplicated,
        "rows_rescued": rows.rescued,
        "rows_removed": imported.rows_removed,
        "objects_loaded": imported.objects.get("loaded", 0) + imported.objects.get("partly_loaded", 0),
        "objects_failed": imported.objects.get("failed", 0) + imported.objects.get("poison", 0),
        "bytes_read": imported.bytes_read,
        "bytes_written": imported.bytes_written,
        "duration": imported.duration_s,
    }


def _cut(imported: ImportSummary, batches: int, problems: int) -> ImportSummary:
    """The newest batches and the first problems, their texts shortened; sums stay."""
    kept = imported.batches[-batches:]
    return imported.model_copy(
        update={
            "batches": kept,
            "earlier_batches": imported.batch_count - len(kept),
            "problems": [
                problem.model_copy(update={"error": problem.error[:_LONGEST_ERROR]})
                for problem in imported.problems[:problems]
            ],
            "notes": imported.notes[-20:],
            "new_columns": imported.new_columns[:100],
        }
    )


def import_in(output: Any) -> ImportSummary | None:
    """The summary that ``output_of_import`` kept."""
    said = output.get("import") if isinstance(output, dict) else None
    return ImportSummary.model_validate(said) if said is not None else None
