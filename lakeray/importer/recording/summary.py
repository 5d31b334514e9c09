"""What an import did, as values that reports, logs and callers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class Summary(BaseModel):
    """Frozen, serialisable with ``model_dump(mode="json")``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rows(Summary):
    """The balance of one object, batch or import: ``read + generated == written + quarantined + dropped + filtered +
    deduplicated``.

    ``read`` counts every record, malformed ones too (they are in ``quarantined``); ``rescued`` counts written rows
    that carry rescued data and is no term of the equation.
    """

    read: int = 0
    generated: int = 0
    written: int = 0
    quarantined: int = 0
    dropped: int = 0
    filtered: int = 0
    deduplicated: int = 0
    rescued: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        gone = self.quarantined + self.dropped + self.filtered + self.deduplicated
        return self.read + self.generated == self.written + gone

    def __add__(self, other: Rows) -> Rows:
        return Rows.total((self, other))

    @classmethod
    def total(cls, parts: Iterable[Rows]) -> Rows:
        """The sum, term by term."""
        names = tuple(cls.model_fields)
        sums = dict.fromkeys(names, 0)
        for part in parts:
            for name in names:
                sums[name] += getattr(part, name)
        return cls(**sums)


class ExpectationSummary(Summary):
    """How often one expectation was looked at and violated."""

    on_violation: str
    checked: int = 0
    violated: int = 0

    @classmethod
    def summed(cls, parts: Iterable[Mapping[str, ExpectationSummary]]) -> dict[str, ExpectationSummary]:
        """The counts of all parts together, by the expectation's name."""
        sums: dict[str, ExpectationSummary] = {}
        for part in parts:
            for name, item in part.items():
                known = sums.get(name, cls(on_violation=item.on_violation))
                update = {"checked": known.checked + item.checked, "violated": known.violated + item.violated}
                sums[name] = known.model_copy(update=update)
        return sums


class SetOutcome(Summary):
    """What one set expectation found in one batch.

    ``rows`` counts offending rows where the kind can tell (None where it cannot); ``detail`` is a sentence for a
    person; ``measured`` is what later batches compare themselves with.
    """

    kind: str
    on_violation: str
    passed: bool
    rows: int | None = None
    detail: str = ""
    measured: dict[str, float] = Field(default_factory=dict)


class SetExpectationSummary(Summary):
    """One set expectation over the batches of a run: ``checked`` and ``violated`` count batches, ``rows`` offending
    rows; ``detail`` is that of the last violation, or else of the last batch.
    """

    kind: str
    on_violation: str
    checked: int = 0
    violated: int = 0
    rows: int = 0
    detail: str = ""

    def after(self, outcome: SetOutcome) -> SetExpectationSummary:
        """With one more batch."""
        keeps = self.violated and outcome.passed
        return SetExpectationSummary(
            kind=outcome.kind,
            on_violation=outcome.on_violation,
            checked=self.checked + 1,
            violated=self.violated + (not outcome.passed),
            rows=self.rows + (outcome.rows or 0),
            detail=self.detail if keeps else outcome.detail,
        )


class CleansingSummary(Summary):
    """What one cleansing rule did to one column: values that it looked at (nulls are none), changed, and refused."""

    looked_at: int = 0
    changed: int = 0
    refused: int = 0

    def __add__(self, other: CleansingSummary) -> CleansingSummary:
        return CleansingSummary(
            looked_at=self.looked_at + other.looked_at,
            changed=self.changed + other.changed,
            refused=self.refused + other.refused,
        )


class ObjectProblem(Summary):
    """Why an object was not loaded whole: ``outcome`` is the ledger's word, ``line`` and ``column`` are 1-based."""

    uri: str
    outcome: str
    error: str
    line: int | None = None
    column: int | None = None


class BatchSummary(Summary):
    """One committed batch. ``won`` is False when another importer committed it first: then it counts in that one's
    summary, not in this one's sums. ``rows_removed`` were taken out of the table; ``unnested`` counts rows of child
    tables by their name.
    """

    number: int
    objects: int
    rows: Rows
    bytes_read: int
    bytes_written: int
    files: int
    table_version: int
    duration_s: float
    won: bool = True
    replays: int | None = None
    rows_removed: int = 0
    unnested: dict[str, int] = Field(default_factory=dict)


class ImportSummary(Summary):
    """All that one import step did in one run.

    ``objects`` counts by ledger outcome (loaded, partly_loaded, failed, superseded, skipped, poison). ``problems``
    holds the first 100. ``batches`` holds the newest 1,000; ``earlier_batches`` were before them and are in the sums
    alone, so that an import which keeps watching does not grow. ``changed`` and ``deleted`` count listed objects that
    differ from, or are missing against, what the ledger knows. ``cleansing`` counts by column, then by rule,
    ``unnested`` rows by child table.
    """

    step: str
    source: str
    source_uri: str
    table: str
    table_uri: str
    quarantine_uri: str | None = None
    mode: str
    batches: list[BatchSummary] = Field(default_factory=list)
    earlier_batches: int = 0
    objects: dict[str, int] = Field(default_factory=dict)
    rows: Rows = Rows()
    bytes_read: int = 0
    bytes_written: int = 0
    files: int = 0
    listed: int = 0
    known: int = 0
    changed: int = 0
    deleted: int = 0
    rows_removed: int = 0
    unnested: dict[str, int] = Field(default_factory=dict)
    new_columns: list[str] = Field(default_factory=list)
    expectations: dict[str, ExpectationSummary] = Field(default_factory=dict)
    set_expectations: dict[str, SetExpectationSummary] = Field(default_factory=dict)
    cleansing: dict[str, dict[str, CleansingSummary]] = Field(default_factory=dict)
    problems: list[ObjectProblem] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    started_at: datetime
    duration_s: float = 0.0
    phases_s: dict[str, float] = Field(default_factory=dict)

    @property
    def batch_count(self) -> int:
        """All batches, listed or not."""
        return self.earlier_batches + len(self.batches)

    @property
    def pass_rate(self) -> float:
        """Written rows over rows that were read and neither filtered nor beaten by a duplicate; 1.0 when there are
        none.
        """
        base = self.rows.read + self.rows.generated - self.rows.filtered - self.rows.deduplicated
        return self.rows.written / base if base else 1.0
