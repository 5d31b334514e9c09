"""A report laid out as blocks, the same for every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from lakeray.importer.recording.summary import BatchSummary, Rows
from lakeray.observability.figures import count, counted, duration, percent, size
from lakeray.observability.visible import visible
from lakeray.reports.blocks import (
    Bars,
    Block,
    Facts,
    Figures,
    Grid,
    Heading,
    Items,
    Note,
    Section,
    Split,
    Tone,
    remarked,
)
from lakeray.reports.model import (
    SECTIONS,
    ImportStep,
    Metrics,
    PathStep,
    ProblemLine,
    Recommendation,
    Report,
    StepLine,
)
from lakeray.reports.steps import WORTH_A_WORD_S, steps_grid, workflow_blocks

_OUTCOME_TONE: dict[str, Tone] = {"failed": "bad", "poison": "bad", "partly_loaded": "warn"}
_OUTCOMES = ("loaded", "partly_loaded", "skipped", "superseded", "failed", "poison")
_SHOWN_PROBLEMS = 20
_SHOWN_WARNINGS = 3
_LONGEST = 400


def outline(report: Report) -> list[Section]:
    """The seven sections in their order, never empty."""
    draw: dict[str, Callable[[Report], list[Block]]] = {
        "import": _import,
        "integration": lambda r: _lines_or_note(r.integration.note, r.integration.targets),
        "alignment": lambda r: _lines_or_note(r.alignment.note, r.alignment.checks),
        "workflow": lambda r: [*workflow_blocks(r), *map(_note, r.workflow.notes)],
        "errors": _errors,
        "performance": _performance,
        "security": _security,
    }
    return [Section(name=name, blocks=draw[name](report)) for name in SECTIONS]


def _import(report: Report) -> list[Block]:
    section = report.import_
    if section.note:
        return [Note(text=section.note)]
    figures: list[tuple[str, str, Tone]] = [
        (count(sum(section.objects.values())), "objects", "plain"),
        (count(section.records), "records read", "plain"),
        (count(section.rows.written), "rows written", "good" if section.rows.written else "plain"),
        (size(section.bytes_read), "read", "plain"),
        (duration(section.duration_s), "duration", "plain"),
        (count(section.rows_per_s), "rows/s", "plain"),
        (count(section.errors), "error" if section.errors == 1 else "errors", "bad" if section.errors else "plain"),
    ]
    return [Figures(figures=figures), *(block for step in section.steps for block in _import_step(step))]


def _import_step(step: ImportStep) -> list[Block]:
    title = f"{visible(step.step)}: {visible(step.source)} → {visible(step.table)} ({visible(step.mode)})"
    blocks: list[Block] = [Heading(text=title), Facts(facts=_import_facts(step)), *map(_note, step.notes)]
    if step.rows.read:
        blocks.insert(2, Split(title="what became of every row", parts=_fates(step.rows)))
    if step.expectations:
        rows = [
            [visible(name), found.on_violation, count(found.checked), count(found.violated)]
            for name, found in step.expectations.items()
        ]
        tones: list[Tone] = ["warn" if found.violated else "plain" for found in step.expectations.values()]
        headers = ["expectation", "on violation", "rows checked", "violated"]
        blocks.append(Grid(headers=headers, rows=rows, numeric=frozenset({2, 3}), tones=tones))
    if step.cleansing:
        blocks.append(_cleansing(step))
    if step.set_expectations:
        blocks.append(_sets(step))
    if step.batches_total > 1:
        blocks.append(_batches(step))
    return blocks


def _sets(step: ImportStep) -> Grid:
    rows = [
        [
            visible(name),
            visible(found.kind),
            visible(found.on_violation),
            *map(count, (found.checked, found.violated)),
            visible(found.detail, _LONGEST),
        ]
        for name, found in step.set_expectations.items()
    ]
    tones: list[Tone] = ["warn" if found.violated else "plain" for found in step.set_expectations.values()]
    headers = ["set expectation", "kind", "on violation", "batches", "violated", "found"]
    return Grid(headers=headers, rows=rows, numeric=frozenset({3, 4}), tones=tones)


def _cleansing(step: ImportStep) -> Grid:
    """What each rule did to each column, in the order in which they were looked at."""
    found = [(column, rule, item) for column, rules in step.cleansing.items() for rule, item in rules.items()]
    return Grid(
        headers=["cleansed column", "rule", "values seen", "changed", "refused"],
        rows=[
            [visible(column), visible(rule), count(item.looked_at), count(item.changed), count(item.refused)]
            for column, rule, item in found
        ],
        numeric=frozenset({2, 3, 4}),
        tones=["warn" if item.refused else "plain" for _, _, item in found],
    )


def _import_facts(step: ImportStep) -> list[tuple[str, str, Tone]]:
    version = "" if step.table_version is None else f" (version {step.table_version})"
    listed = f"{count(step.listed)} listed, {count(step.known)} known before"
    listed += f", {count(step.changed)} changed" if step.changed else ""
    listed += f", {count(step.deleted)} deleted" if step.deleted else ""
    facts: list[tuple[str, str, Tone]] = [
        ("from", visible(step.source_uri, _LONGEST), "plain"),
        ("into", visible(step.table_uri, _LONGEST) + version, "plain"),
        ("listing", listed, "plain"),
        (
            "objects",
            _outcomes(step.objects),
            "warn" if any(step.objects.get(bad) for bad in _OUTCOME_TONE) else "plain",
        ),
        ("rows", _balance(step.rows), "plain" if step.balanced else "bad"),
    ]
    if step.rows.read and step.pass_rate < 1:
        facts.append(("passed", percent(step.pass_rate), "plain"))
    for name, rows in step.unnested.items():
        facts.append((f"into {visible(name)}", f"{counted(rows, 'row')} of its lists", "plain"))
    if step.rows.rescued:
        facts.append(("rescued", f"{counted(step.rows.rescued, 'row')} in part in _rescued_data", "plain"))
    if step.rows.quarantined and step.quarantine_uri:
        facts.append(("quarantine", visible(step.quarantine_uri, _LONGEST), "plain"))
    if step.files:
        facts.append(("written", f"{counted(step.files, 'file')}, {size(step.bytes_written)}", "plain"))
    if step.new_columns:
        facts.append(("new columns", ", ".join(map(visible, step.new_columns)), "plain"))
    return facts


def _outcomes(objects: dict[str, int]) -> str:
    if not sum(objects.values()):
        return "nothing new"
    known = [outcome for outcome in _OUTCOMES if objects.get(outcome)]
    others = sorted(outcome for outcome in objects if outcome not in _OUTCOMES and objects[outcome])
    return ", ".join(f"{count(objects[outcome])} {visible(outcome).replace('_', ' ')}" for outcome in known + others)


def _balance(rows: Rows) -> str:
    read = f"{count(rows.read)} read" + (f" + {count(rows.generated)} generated" if rows.generated else "")
    terms = [f"{count(rows.written)} written"]
    terms += [f"{count(number)} {name}" for name, number, _ in _fates(rows) if name != "written" and number]
    return f"{read} = {' + '.join(terms)}" if rows.balanced else f"{read} ≠ {' + '.join(terms)}: they do not balance"


def _fates(rows: Rows) -> list[tuple[str, int, Tone]]:
    return [
        ("written", rows.written, "good"),
        ("quarantined", rows.quarantined, "bad"),
        ("dropped", rows.dropped, "warn"),
        ("filtered", rows.filtered, "plain"),
        ("deduplicated", rows.deduplicated, "plain"),
    ]


def _batches(step: ImportStep) -> Grid:
    headers = ["batch", "objects", "rows written", "read", "files", "version", "took", ""]
    rows = [_batch(batch) for batch in step.batches]
    left_out = step.batches_total - len(step.batches)
    if left_out:
        rows.insert(0, ["…", *[""] * 6, f"{counted(left_out, 'earlier batch', 'earlier batches')}"])
    return remarked(headers, rows, numeric=frozenset(range(7)))


def _batch(batch: BatchSummary) -> list[str]:
    said = [] if batch.won else ["committed by another importer"]
    said += [f"replays {batch.replays}"] if batch.replays is not None else []
    return [
        str(batch.number),
        count(batch.objects),
        count(batch.rows.written),
        size(batch.bytes_read),
        count(batch.files),
        str(batch.table_version),
        duration(batch.duration_s),
        ", ".join(said),
    ]


def _lines_or_note(note: str | None, lines: list[StepLine]) -> list[Block]:
    return [Note(text=note)] if note else [steps_grid(lines)]


def _note(text: str) -> Note:
    return Note(text=visible(text, _LONGEST))


def _errors(report: Report) -> list[Block]:
    section = report.errors
    items: list[tuple[str, list[str], str, Tone]] = [
        (
            " · ".join(filter(None, [visible(error.step or ""), error.code, visible(error.uri or "", _LONGEST)])),
            [visible(error.message, _LONGEST)],
            visible(error.what_to_do, _LONGEST),
            "bad",
        )
        for error in section.errors
    ]
    for step in report.import_.steps:
        items += _problems(step, [line for line in section.problems if line.step == step.step])
    return [Items(items=items)] if items else [Note(text="None.")]


def _problems(step: ImportStep, lines: list[ProblemLine]) -> Iterator[tuple[str, list[str], str, Tone]]:
    """One item for each outcome, the worst first, with some of the objects that had it."""
    worst_first = {"poison": 0, "failed": 1, "partly_loaded": 2}
    outcomes = sorted({line.problem.outcome for line in lines}, key=lambda name: (worst_first.get(name, 3), name))
    for outcome in outcomes:
        listed = [line for line in lines if line.problem.outcome == outcome]
        total = max(step.objects.get(outcome, 0), len(listed))
        shown = listed[: _SHOWN_WARNINGS if outcome == "partly_loaded" else _SHOWN_PROBLEMS]
        told = [_problem(line) for line in shown]
        if total > len(shown):
            told.append(f"and {count(total - len(shown))} more: lakeray ledger show FILE --outcome {visible(outcome)}")
        about = f"{visible(step.step)} · {counted(total, 'object')} {visible(outcome).replace('_', ' ')}"
        yield about, told, listed[0].what_to_do, _OUTCOME_TONE.get(outcome, "plain")


def _problem(line: ProblemLine) -> str:
    found = line.problem
    where = "".join(
        f", {name} {number}" for name, number in (("line", found.line), ("column", found.column)) if number is not None
    )
    return f"{visible(found.uri, _LONGEST)}{where}: {visible(found.error, _LONGEST)}"


def _performance(report: Report) -> list[Block]:
    section = report.performance
    blocks: list[Block] = []
    if section.metrics:
        blocks.append(_metrics(section.metrics))
    for found in section.metrics:
        if found.phases_s:
            bars = [(visible(name), spent, duration(spent)) for name, spent in found.phases_s.items()]
            blocks.append(Bars(title=f"{visible(found.step)}, where the time went", bars=bars))
    if section.critical_path:
        bars = [(visible(each.step), each.duration_s, _share(each)) for each in section.critical_path]
        blocks.append(Bars(title="critical path, the steps that the run's length hangs on", bars=bars))
    if section.recommendations:
        blocks.append(_advice(section.recommendations))
    elif blocks:
        blocks.append(Note(text="Nothing to recommend."))
    return blocks or [Note(text="Nothing was measured.")]


def _share(each: PathStep) -> str:
    waits = [f"{duration(s)} {name}" for name, s in each.waits_s.items() if s >= WORTH_A_WORD_S]
    return duration(each.duration_s) + (f" ({', '.join(waits)})" if waits else "")


def _metrics(metrics: Sequence[Metrics]) -> Grid:
    rows = [
        [
            visible(found.step),
            duration(found.duration_s),
            f"{count(found.rows_per_s)}/s",
            f"{size(found.bytes_per_s)}/s",
            size(found.mean_object_bytes) if found.mean_object_bytes else "-",
            size(found.mean_file_bytes) if found.mean_file_bytes else "-",
        ]
        for found in metrics
    ]
    headers = ["step", "took", "rows", "bytes", "mean object", "mean file"]
    return Grid(headers=headers, rows=rows, numeric=frozenset(range(1, 6)))


def _advice(found: Sequence[Recommendation]) -> Items:
    return Items(items=[(visible(one.step), [visible(one.why)], visible(one.advice), "warn") for one in found])


def _security(report: Report) -> list[Block]:
    section = report.security
    blocks: list[Block] = [Note(text=section.note)] if section.note else []
    blocks += [_note(line) for line in section.audit]
    where = (
        "Refused rows, as sensitive as the data itself, lie in " + visible(uri, _LONGEST) for uri in section.quarantines
    )
    return [*blocks, *(Note(text=f"{text}.") for text in where)]
