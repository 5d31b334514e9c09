"""The seven sections of a report as plain values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from lakeray.importer.recording.summary import (
    BatchSummary,
    CleansingSummary,
    ExpectationSummary,
    ObjectProblem,
    Rows,
    SetExpectationSummary,
    Summary,
)

SECTIONS = ("import", "integration", "alignment", "workflow", "errors", "performance", "security")
"""The sections in the order in which every format shows them."""


class Head(Summary):
    """Which run this is about; ``headline`` is the result in one sentence."""

    run_id: str
    workflow: str
    tenant: str
    state: str
    headline: str
    started_at: datetime
    duration_s: float
    environment: dict[str, str] = Field(default_factory=dict)


class ImportStep(Summary):
    """One import step; ``batches`` holds the last few, ``batches_total`` counts all. ``cleansing`` counts by column,
    then by rule, ``unnested`` rows by child table.
    """

    step: str
    source: str
    source_uri: str
    table: str
    table_uri: str
    quarantine_uri: str | None
    mode: str
    objects: dict[str, int]
    listed: int
    known: int
    changed: int
    deleted: int
    rows: Rows
    balanced: bool
    pass_rate: float
    bytes_read: int
    bytes_written: int
    files: int
    unnested: dict[str, int] = Field(default_factory=dict)
    batches_total: int
    batches: list[BatchSummary]
    table_version: int | None
    new_columns: list[str]
    expectations: dict[str, ExpectationSummary]
    cleansing: dict[str, dict[str, CleansingSummary]] = Field(default_factory=dict)
    set_expectations: dict[str, SetExpectationSummary] = Field(default_factory=dict)
    duration_s: float
    rows_per_s: float
    bytes_per_s: float
    notes: list[str]


class ImportSection(Summary):
    """What all import steps did together, then each of them. ``records`` are those read, malformed ones included."""

    note: str | None
    records: int
    rows: Rows
    balanced: bool
    objects: dict[str, int]
    bytes_read: int
    bytes_written: int
    duration_s: float
    rows_per_s: float
    bytes_per_s: float
    errors: int
    steps: list[ImportStep]


class ConditionLine(Summary):
    """What one condition of a gate found, as it was written down: ``values`` are what it rests on."""

    condition: str
    kind: str
    verdict: str
    found: str
    at: datetime
    values: dict[str, Any] = Field(default_factory=dict)
    policy_revision: str | None = None


class UndoLine(Summary):
    """How a step's effects were taken back: ``undone``, ``undoing`` or ``failed``."""

    state: str
    attempts: int
    said: str


class StepLine(Summary):
    """One step of the run, which came ``after`` others; ``error`` is its message, ``done`` what upkeep did or a gate
    found. ``waited_s`` are seconds in which it was not at work, by what it waited for. ``conditions`` are a gate's.
    """

    name: str
    kind: str
    state: str
    attempts: int
    duration_s: float
    error: str | None = None
    done: list[str] = Field(default_factory=list)
    after: list[str] = Field(default_factory=list)
    waited_s: dict[str, float] = Field(default_factory=dict)
    conditions: list[ConditionLine] = Field(default_factory=list)
    undone: UndoLine | None = None


class IntegrationSection(Summary):
    """What every delivery did; ``note`` says so when the workflow has none."""

    note: str | None
    targets: list[StepLine]


class AlignmentSection(Summary):
    """What every check found; ``note`` says so when the workflow has none."""

    note: str | None
    checks: list[StepLine]


class WorkflowSection(Summary):
    """Every step with its state. ``tolerated`` failed and were allowed to."""

    state: str
    steps: list[StepLine]
    notes: list[str]
    tolerated: list[str] = Field(default_factory=list)


class ErrorLine(Summary):
    """One error with what to do about it."""

    step: str | None
    code: str
    message: str
    what_to_do: str
    uri: str | None
    retryable: bool


class ProblemLine(Summary):
    """One object that was not loaded whole, with what to do about it."""

    step: str
    problem: ObjectProblem
    what_to_do: str


class ErrorsSection(Summary):
    """Errors of steps, then objects that were not loaded whole: the first 100 of each step.

    ``count`` counts errors with objects that failed; ``problems_total`` all objects not loaded whole, those of which
    only some rows were refused included.
    """

    count: int
    errors: list[ErrorLine]
    problems_total: int
    problems: list[ProblemLine]


class Metrics(Summary):
    """How fast one import step was; ``phases_s`` may overlap, so they need not add up to the duration."""

    step: str
    duration_s: float
    rows_per_s: float
    bytes_per_s: float
    mean_object_bytes: float
    mean_file_bytes: float
    written_per_read: float | None
    phases_s: dict[str, float]


class Recommendation(Summary):
    """Advice that follows from the data: ``why`` holds what was measured, ``code`` is stable over releases."""

    code: str
    step: str
    why: str
    advice: str


class PathStep(Summary):
    """A step on the critical path: its share of the run's length, and what of its time was waiting."""

    step: str
    duration_s: float
    waits_s: dict[str, float] = Field(default_factory=dict)


class PerformanceSection(Summary):
    """Metrics of every import step, the steps that the run's length hangs on, then what they recommend."""

    metrics: list[Metrics]
    critical_path: list[PathStep] = Field(default_factory=list)
    recommendations: list[Recommendation]


class SecuritySection(Summary):
    """Which references were used, what was masked, where refused rows lie; never a value of a secret."""

    audit: list[str]
    quarantines: list[str]
    note: str | None


class Report(Summary):
    """The report of one run: always these seven sections.

    ``model_dump(mode="json", by_alias=True)`` is its JSON form; in a notebook it shows itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    run: Head
    import_: ImportSection = Field(alias="import")
    integration: IntegrationSection
    alignment: AlignmentSection
    workflow: WorkflowSection
    errors: ErrorsSection
    performance: PerformanceSection
    security: SecuritySection

    def _repr_html_(self) -> str:
        from lakeray.reports.html import render_fragment

        return render_fragment(self)
