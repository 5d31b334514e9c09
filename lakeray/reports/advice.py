"""Recommendations that follow from what a run measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType

from lakeray.importer.recording.summary import ImportSummary
from lakeray.observability.figures import count, counted, duration, per_second, percent, size
from lakeray.reports.model import Recommendation

SMALL_OBJECT_BYTES = 64_000
"""Mean size below which opening objects costs more than reading them."""
MANY_OBJECTS = 1_000
"""Objects from which their small size matters."""
SMALL_FILE_BYTES = 16_000_000
"""Mean size below which data files are slow to query."""
MANY_FILES = 50
"""Data files from which their small size matters."""
DOMINANT_SHARE = 0.6
"""Share of the measured time from which one phase dominates."""
DOMINANT_S = 10.0
"""Seconds below which no phase is worth a word."""
SLOW_ROWS_PER_S = 10_000.0
"""Rows a second below which an import is slow."""
SLOW_BYTES_PER_S = 5_000_000.0
"""Bytes a second below which an import is slow."""
SLOW_S = 60.0
"""Seconds below which slowness is start-up."""
LOW_PASS_RATE = 0.95
"""Share of rows that pass below which the source or the expectations need a look."""
MANY_RESCUED = 0.01
"""Share of written rows with rescued data from which the schema needs a look."""
SMALL_BATCH_BYTES = 8_000_000
"""Mean bytes of a batch below which commits are too frequent."""
MANY_BATCHES = 20
"""Batches from which their small size matters."""

PHASE_ADVICE = MappingProxyType(
    {
        "list": "put a date or a partition into the source's uri, so that fewer objects are listed",
        "discover": "put a date or a partition into the source's uri, so that fewer objects are listed",
        "plan": "raise the size of batches, so that there are fewer to plan",
        "write": "give Ray more CPUs: reading, checking and writing run in parallel over objects",
        "read": "give Ray more CPUs: reading, checking and writing run in parallel over objects",
        "commit": "raise the size of batches, or run `lakeray tables optimize` when the table has many small files",
        "record": "raise the size of batches, so that the ledger is written less often",
        "start": "keep a cluster warm (RAY_ADDRESS), so that starting Ray is not paid by every run",
    }
)
"""What to do when the phase of this name dominates."""


def recommendations(imported: ImportSummary) -> list[Recommendation]:
    """Advice for one import step, the most useful first; empty when nothing stands out."""
    return [found for rule in _RULES for found in rule(imported)]


def _make(imported: ImportSummary, code: str, why: str, advice: str) -> Recommendation:
    return Recommendation(code=code, step=imported.step, why=why, advice=advice)


def _worker_deaths(imported: ImportSummary) -> Iterator[Recommendation]:
    poison = imported.objects.get("poison", 0)
    if poison:
        why = f"{counted(poison, 'object')} ended the worker or failed too often."
        advice = (
            "If workers ran out of memory: lower the batch size or give them more memory. Then repair or reset these."
        )
        yield _make(imported, "poison_objects", why, advice)


def _pass_rate(imported: ImportSummary) -> Iterator[Recommendation]:
    if imported.pass_rate < LOW_PASS_RATE:
        why = f"Only {percent(imported.pass_rate)} of the rows passed."
        yield _make(imported, "low_pass_rate", why, "Look at the reasons: `lakeray quarantine list FILE`.")


def _rescued(imported: ImportSummary) -> Iterator[Recommendation]:
    rescued, written = imported.rows.rescued, imported.rows.written
    if written and rescued / written >= MANY_RESCUED:
        why = f"{counted(rescued, 'row')} ({percent(rescued / written)}) carry values that do not fit the schema."
        advice = "Give these columns a wider type in `schema_hints`; the values are in `_rescued_data`."
        yield _make(imported, "rescued_rows", why, advice)


def _phase(imported: ImportSummary) -> Iterator[Recommendation]:
    total = sum(imported.phases_s.values())
    if not total:
        return
    name, spent = max(imported.phases_s.items(), key=lambda phase: phase[1])
    if len(imported.phases_s) > 1 and spent >= DOMINANT_S and spent / total >= DOMINANT_SHARE:
        why = f"The phase “{name}” took {duration(spent)}, {percent(spent / total, 0)} of the time."
        advice = PHASE_ADVICE.get(name, "look there first when the import should be faster")
        yield _make(imported, "dominant_phase", why, f"{advice[0].upper()}{advice[1:]}.")


def _slow(imported: ImportSummary) -> Iterator[Recommendation]:
    rows = per_second(imported.rows.read, imported.duration_s)
    speed = per_second(imported.bytes_read, imported.duration_s)
    if imported.duration_s >= SLOW_S and 0 < rows < SLOW_ROWS_PER_S and speed < SLOW_BYTES_PER_S:
        why = f"{count(rows)} rows/s at {size(speed)}/s is slow."
        advice = "Run nearer to the storage or with more CPUs; a Python hook, if there is one, is the next suspect."
        yield _make(imported, "low_throughput", why, advice)


def _small_objects(imported: ImportSummary) -> Iterator[Recommendation]:
    read = _objects_read(imported)
    if read >= MANY_OBJECTS and imported.bytes_read / read < SMALL_OBJECT_BYTES:
        why = (
            f"{count(read)} objects of {size(imported.bytes_read / read)} on average: opening them is most of the work."
        )
        yield _make(imported, "small_objects", why, "Let the producer write larger objects, of 1 MB or more.")


def _small_batches(imported: ImportSummary) -> Iterator[Recommendation]:
    number = imported.batch_count
    if number >= MANY_BATCHES and imported.bytes_read / number < SMALL_BATCH_BYTES:
        why = f"{count(number)} batches of {size(imported.bytes_read / number)} on average, each with its own commit."
        yield _make(imported, "small_batches", why, "Raise the limits of a batch (objects and bytes).")


def _small_files(imported: ImportSummary) -> Iterator[Recommendation]:
    if imported.files >= MANY_FILES and imported.bytes_written / imported.files < SMALL_FILE_BYTES:
        why = f"{count(imported.files)} data files of {size(imported.bytes_written / imported.files)} on average."
        advice = f"Run `lakeray tables optimize FILE {imported.table}`; fewer partitions make larger files."
        yield _make(imported, "small_files", why, advice)


def _race(imported: ImportSummary) -> Iterator[Recommendation]:
    lost = sum(not batch.won for batch in imported.batches)
    if lost:
        why = f"{counted(lost, 'batch', 'batches')} had already been committed by another importer."
        advice = "That is safe, but the work was done twice: run one importer for a step, with more CPUs."
        yield _make(imported, "lost_batches", why, advice)


def _objects_read(imported: ImportSummary) -> int:
    return sum(number for outcome, number in imported.objects.items() if outcome not in {"skipped", "superseded"})


_Rule = Callable[[ImportSummary], Iterator[Recommendation]]
_RULES: tuple[_Rule, ...] = (
    _worker_deaths,
    _pass_rate,
    _rescued,
    _phase,
    _slow,
    _small_objects,
    _small_batches,
    _small_files,
    _race,
)
