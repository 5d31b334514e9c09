"""Gates of a workflow file: conditions that a run must meet to go on, combined by all, any, not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from lakeray.spec.rules import checked_rule
from lakeray.spec.strict import Choice, Complaint, Loc, Spec
from lakeray.spec.texts import Hook, Name, Text
from lakeray.spec.units import PositiveDuration
from lakeray.spec.wrong import WrongValue, quoted, unknown

STEP_METRICS = (
    "pass_rate",
    "rows_read",
    "rows_generated",
    "rows_written",
    "rows_quarantined",
    "rows_dropped",
    "rows_filtered",
    "rows_deduplicated",
    "rows_rescued",
    "rows_removed",
    "objects_loaded",
    "objects_failed",
    "bytes_read",
    "bytes_written",
    "duration",
)
"""Numbers that an import step ends with; ``duration`` in seconds."""
EXPECTATION_METRICS = ("pass_rate", "checked", "violated")
"""Numbers of one expectation: rows looked at, or batches for one of ``expect_set``."""
TABLE_METRICS = ("rows", "bytes", "files", "age", "quarantined_rows")
"""Numbers of a table when the gate looks; ``age`` in seconds since the last commit that changed data."""

Metric = Literal[
    "pass_rate",
    "rows_read",
    "rows_generated",
    "rows_written",
    "rows_quarantined",
    "rows_dropped",
    "rows_filtered",
    "rows_deduplicated",
    "rows_rescued",
    "rows_removed",
    "objects_loaded",
    "objects_failed",
    "bytes_read",
    "bytes_written",
    "duration",
    "checked",
    "violated",
    "rows",
    "bytes",
    "files",
    "age",
    "quarantined_rows",
]
Rule = Annotated[str, AfterValidator(checked_rule), WithJsonSchema({"type": "string", "minLength": 1})]
"""A condition in the Common Expression Language."""


class DataQuality(Spec):
    """A number of an import step, of one of its expectations, or of a table lies within bounds."""

    step: Name | None = None
    """The import step. Either this or `table`."""
    expectation: Name | None = None
    """One of the step's `expect` or `expect_set`. Default: the step as a whole."""
    table: Name | None = None
    """The table, as it is when the gate looks. Either this or `step`."""
    metric: Metric = "pass_rate"
    """The number. Of a step: pass_rate (default), the written share of the rows that were read, not filtered and no
    duplicates, 1.0 when there are none; rows_read, rows_generated, rows_written, rows_quarantined, rows_dropped,
    rows_filtered, rows_deduplicated, rows_rescued, rows_removed; objects_loaded, objects_failed; bytes_read,
    bytes_written; duration in seconds. Of an expectation: pass_rate, checked, violated. Of a table: rows, bytes, files,
    quarantined_rows, age in seconds since its data changed."""
    at_least: float | None = None
    """The least that passes. Default: no bound."""
    at_most: float | None = None
    """The most that passes. Default: no bound."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """No subject or two; a number that the subject does not have; no bound, or bounds that nothing can meet."""
        step, table, expectation = data.get("step"), data.get("table"), data.get("expectation")
        if (step is None) == (table is None):
            found = "neither" if step is None else "both"
            yield (), WrongValue("data_quality is about exactly one of: step, table", found=found)
        elif expectation is not None and step is None:
            yield ("expectation",), WrongValue("only a step has expectations", found=f"table {table}")
        else:
            yield from _metric(data, table=table is not None, expectation=expectation is not None)
        low, high = data.get("at_least"), data.get("at_most")
        if low is None and high is None:
            yield (), WrongValue("data_quality needs at_least or at_most", found="no bound")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield ("at_most",), WrongValue(f"expected at least {low}, as at_least says", found=str(high))


def _metric(data: Mapping[str, object], *, table: bool, expectation: bool) -> Iterator[Complaint]:
    metric = data.get("metric")
    if table and metric is None:
        yield (), WrongValue(f"a table needs a metric; allowed: {', '.join(TABLE_METRICS)}", found="none")
        return
    allowed = TABLE_METRICS if table else EXPECTATION_METRICS if expectation else STEP_METRICS
    if metric in (*STEP_METRICS, *EXPECTATION_METRICS, *TABLE_METRICS) and metric not in allowed:
        of = "a table" if table else "an expectation" if expectation else "a step"
        yield ("metric",), unknown(str(metric), allowed, lead=f"metrics of {of}")


class AccessControl(Spec):
    """Whoever started the run may do something."""

    role: Name | None = None
    """A role that they must have."""
    permission: Text | None = None
    """A permission that they must have, such as `publish`, by the tenant's policy."""
    resource: Text | None = None
    """What it is asked for, such as `table:orders`. Default: `workflow:` with this workflow's name."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Nothing that could be refused."""
        if data.get("role") is None and data.get("permission") is None:
            yield (), WrongValue("access_control needs role or permission", found="neither")
        if data.get("resource") is not None and data.get("permission") is None:
            yield ("resource",), WrongValue("only a permission is for a resource", found=quoted(str(data["resource"])))


class AlignmentCondition(Spec):
    """A validate step's checks passed."""

    shorthand: ClassVar[str | None] = "step"

    step: Name
    """The validate step."""
    at_least: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of its checks that must have passed, 0 to 1. Default: 1."""


class Approval(Spec):
    """People said yes. One of them who says no decides, unless enough had said yes before."""

    role: Name
    """The role of those who may say so."""
    quorum: int = Field(default=1, ge=1, le=100)
    """How many must, each counted once. Default: 1."""
    four_eyes: bool = False
    """Whether those who started the run, or set it going again, are left out. Default: false, so that a person alone
    can use gates; set it wherever more than one person works."""
    comment: Literal["optional", "required"] = "optional"
    """Whether a yes or no counts only with a comment. Default: optional."""
    expires_in: PositiveDuration | None = None
    """Seconds after which `on_expiry` says what silence means. Default: it waits without end."""
    on_expiry: Literal["reject", "approve", "escalate"] = "reject"
    """What silence means. `reject` (default): no. `approve`: yes. `escalate`: those with the role `escalate_to` may say
    so as well, for `expires_in` seconds more; then silence is a no."""
    escalate_to: Name | None = None
    """The role that is asked when it expires with `on_expiry: escalate`. Default: none."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A word about an end that never comes; a role too much, too few, or the same again."""
        said, other = data.get("on_expiry", "reject"), data.get("escalate_to")
        if said != "reject" and data.get("expires_in") is None:
            yield ("on_expiry",), WrongValue("only with expires_in does it expire", found=quoted(str(said)))
        if said == "escalate" and other is None:
            yield ("on_expiry",), WrongValue("escalate needs a role: escalate_to", found="escalate alone")
        if other is not None and said != "escalate":
            yield ("escalate_to",), WrongValue("only with on_expiry: escalate", found=quoted(str(other)))
        if other is not None and other == data.get("role"):
            yield ("escalate_to",), WrongValue("expected another role than `role`", found=quoted(str(other)))


class PythonCall(Spec):
    """A function of the user."""

    shorthand: ClassVar[str | None] = "function"

    function: Hook
    """`module:function`, importable where lakeray runs."""
    arguments: dict[Name, str | int | float | bool | None] = Field(default_factory=dict)
    """Keyword arguments. Default: none."""


class Condition(Choice):
    """Something that is true, false or unknown."""

    noun: ClassVar[str] = "a condition"

    all_: list[Condition] | None = Field(default=None, alias="all", min_length=1)
    """True when all of these are."""
    any_: list[Condition] | None = Field(default=None, alias="any", min_length=1)
    """True when one of these is."""
    not_: Condition | None = Field(default=None, alias="not")
    """True when this is false."""
    data_quality: DataQuality | None = None
    """A number of a step, an expectation or a table lies within bounds."""
    business_rule: Rule | None = None
    """A condition in the Common Expression Language, such as `steps.ingest.rows_written < 10000000`. It may speak of
    `steps.<name>.<metric>`, `.state` and `.output`, `tables.<name>.<metric>`, `run.id`, `run.workflow`, `run.tenant`,
    `run.principal`, `run.labels`, `arguments` and `now`; `steps["a-b"]` where a name has a `-`."""
    access_control: AccessControl | None = None
    """Whoever started the run may do something."""
    alignment: AlignmentCondition | None = None
    """A validate step's checks passed."""
    approval: Approval | None = None
    """People said yes."""
    python: PythonCall | None = None
    """A function of the user returns true."""


def approvals_in(condition: object, depth: int = 0) -> Iterator[Loc]:
    """Where in a condition, as written or made, people are asked."""
    said = condition.model_dump(by_alias=True, exclude_none=True) if isinstance(condition, Spec) else condition
    if not isinstance(said, Mapping) or depth > 32:  # noqa: PLR2004 - deeper ones are refused by their own model
        return
    if said.get("approval") is not None:
        yield ("approval",)
    yield from (("not", *loc) for loc in approvals_in(said.get("not"), depth + 1))
    for key in ("all", "any"):
        inner = said.get(key)
        for index, each in enumerate(inner if isinstance(inner, list) else ()):
            yield from ((key, index, *loc) for loc in approvals_in(each, depth + 1))
