"""The report of a run, built from its summary alone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add

from lakeray.importer.recording.summary import ImportSummary, Rows
from lakeray.observability.figures import counted, duration, per_second
from lakeray.reports import advice, remedies, run_advice
from lakeray.reports.model import (
    AlignmentSection,
    ConditionLine,
    ErrorLine,
    ErrorsSection,
    Head,
    ImportSection,
    ImportStep,
    IntegrationSection,
    Metrics,
    PerformanceSection,
    ProblemLine,
    Report,
    SecuritySection,
    StepLine,
    UndoLine,
    WorkflowSection,
)
from lakeray.reports.paths import critical_path
from lakeray.runtime.summary import RunSummary, StepSummary

LAST_BATCHES = 20
"""How many batches of a step a report lists; all are counted."""

_GOOD_OUTCOMES = frozenset({"loaded", "skipped", "superseded"})
_FAILED_OUTCOMES = frozenset({"failed", "poison"})


def build_report(summary: RunSummary) -> Report:
    """All seven sections, whatever the workflow holds; never fails for a summary that is valid."""
    imports = [step.imported for step in summary.steps if step.imported is not None]
    errors = _errors(summary, imports)
    path = critical_path(summary.steps, summary.started_at)
    return Report(
        run=_head(summary, imports),
        import_=_import(imports, errors),
        integration=IntegrationSection(
            note=None if _lines(summary, "deliver") else "This workflow has no step that delivers data to a target.",
            targets=_lines(summary, "deliver"),
        ),
        alignment=AlignmentSection(
            note=None if _lines(summary, "validate") else "This workflow has no step that compares data.",
            checks=_lines(summary, "validate"),
        ),
        workflow=WorkflowSection(
            state=summary.state,
            steps=[_line(step) for step in summary.steps],
            notes=list(summary.notes),
            tolerated=list(summary.tolerated),
        ),
        errors=errors,
        performance=PerformanceSection(
            metrics=[_metrics(imported) for imported in imports],
            critical_path=path if len(summary.steps) > 1 else [],
            recommendations=[
                *(found for imported in imports for found in advice.recommendations(imported)),
                *run_advice.recommendations(summary, path),
            ],
        ),
        security=_security(summary, imports),
    )


def _head(summary: RunSummary, imports: list[ImportSummary]) -> Head:
    return Head(
        run_id=summary.run_id,
        workflow=summary.workflow,
        tenant=summary.tenant,
        state=summary.state,
        headline=_headline(summary, imports),
        started_at=summary.started_at,
        duration_s=summary.duration_s,
        environment=dict(summary.environment),
    )


def _headline(summary: RunSummary, imports: list[ImportSummary]) -> str:
    took = duration(summary.duration_s)
    verbs = {"failed": "Failed after", "cancelled": "Stopped after", "waiting": "Waiting for a person after"}
    written = sum(imported.rows.written for imported in imports)
    batches = sum(imported.batch_count for imported in imports)
    tables = len({imported.table_uri for imported in imports})
    if summary.steps and not any(step.kind == "import" for step in summary.steps):
        good = sum(step.state == "succeeded" for step in summary.steps)
        done = f"{good} of {counted(len(summary.steps), 'step')} succeeded"
    elif not imports or (summary.state == "failed" and not batches):
        done = "nothing was imported"
    elif not batches and not written:
        done = "nothing new to import"
    else:
        done = f"{counted(written, 'row')} written to {counted(tables, 'table')}"
    return f"{verbs.get(summary.state, 'Done in')} {took}: {done}."


def _import(imports: list[ImportSummary], errors: ErrorsSection) -> ImportSection:
    rows: Rows = reduce(add, (imported.rows for imported in imports), Rows())
    bytes_read = sum(imported.bytes_read for imported in imports)
    seconds = sum(imported.duration_s for imported in imports)
    return ImportSection(
        note=None if imports else "No import step ran.",
        records=rows.read,
        rows=rows,
        balanced=all(imported.rows.balanced for imported in imports),
        objects=_merged(imported.objects for imported in imports),
        bytes_read=bytes_read,
        bytes_written=sum(imported.bytes_written for imported in imports),
        duration_s=seconds,
        rows_per_s=per_second(rows.read, seconds),
        bytes_per_s=per_second(bytes_read, seconds),
        errors=errors.count,
        steps=[_import_step(imported) for imported in imports],
    )


def _merged(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for outcome, number in part.items():
            total[outcome] = total.get(outcome, 0) + number
    return total


def _import_step(imported: ImportSummary) -> ImportStep:
    same = (
        "step",
        "source",
        "source_uri",
        "table",
        "table_uri",
        "quarantine_uri",
        "mode",
        "objects",
        "listed",
        "known",
    )
    more = (
        "changed",
        "deleted",
        "rows",
        "pass_rate",
        "bytes_read",
        "bytes_written",
        "files",
        "unnested",
        "new_columns",
        "cleansing",
    )
    return ImportStep(
        **{
            name: getattr(imported, name)
            for name in (*same, *more, "expectations", "set_expectations", "duration_s", "notes")
        },
        balanced=imported.rows.balanced,
        batches_total=imported.batch_count,
        batches=imported.batches[-LAST_BATCHES:],
        table_version=imported.batches[-1].table_version if imported.batches else None,
        rows_per_s=per_second(imported.rows.read, imported.duration_s),
        bytes_per_s=per_second(imported.bytes_read, imported.duration_s),
    )


def _lines(summary: RunSummary, kind: str) -> list[StepLine]:
    return [_line(step) for step in summary.steps if step.kind == kind]


def _line(step: StepSummary) -> StepLine:
    return StepLine(
        name=step.name,
        kind=step.kind,
        state=step.state,
        attempts=step.attempts,
        duration_s=step.duration_s,
        error=step.error.message if step.error else None,
        done=step.maintained.done if step.maintained else step.said,
        after=list(step.after),
        waited_s={name: seconds for name, seconds in step.spent_s.items() if name != "at work"},
        conditions=[
            ConditionLine(
                condition=found.path,
                found=found.said,
                **found.model_dump(include={"kind", "verdict", "at", "values", "policy_revision"}),
            )
            for found in step.conditions
        ],
        undone=UndoLine(**step.undone.model_dump()) if step.undone is not None else None,
    )


def _errors(summary: RunSummary, imports: list[ImportSummary]) -> ErrorsSection:
    every = [*(step.error for step in summary.steps if step.error), *summary.errors]
    # The same failure is reported by its step, then by the run: one line is enough.
    distinct = {(error.code, error.message): error for error in reversed(every)}
    lines = [
        ErrorLine(
            step=error.step,
            code=error.code,
            message=error.message,
            what_to_do=remedies.for_code(error.code, error.hint),
            uri=error.uri,
            retryable=error.retryable,
        )
        for error in reversed(distinct.values())
    ]
    problems = [
        ProblemLine(step=imported.step, problem=problem, what_to_do=remedies.for_outcome(problem.outcome))
        for imported in imports
        for problem in imported.problems
    ]
    outcomes = _merged(imported.objects for imported in imports)
    bad = sum(number for outcome, number in outcomes.items() if outcome not in _GOOD_OUTCOMES)
    failed = sum(outcomes.get(outcome, 0) for outcome in _FAILED_OUTCOMES)
    total = max(bad, len(problems))
    return ErrorsSection(count=len(lines) + failed, errors=lines, problems_total=total, problems=problems)


def _metrics(imported: ImportSummary) -> Metrics:
    objects = sum(imported.objects.values())
    return Metrics(
        step=imported.step,
        duration_s=imported.duration_s,
        rows_per_s=per_second(imported.rows.read, imported.duration_s),
        bytes_per_s=per_second(imported.bytes_read, imported.duration_s),
        mean_object_bytes=imported.bytes_read / objects if objects else 0.0,
        mean_file_bytes=imported.bytes_written / imported.files if imported.files else 0.0,
        written_per_read=imported.bytes_written / imported.bytes_read if imported.bytes_read else None,
        phases_s=dict(imported.phases_s),
    )


def _security(summary: RunSummary, imports: list[ImportSummary]) -> SecuritySection:
    places = sorted({imported.quarantine_uri for imported in imports if imported.quarantine_uri})
    quiet = None if summary.security else "No secret reference was used; no column is masked."
    return SecuritySection(audit=list(summary.security), quarantines=places, note=quiet)
