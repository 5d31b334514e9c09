"""Gates of a workflow file: conditions that a run must meet to go on, combined by all, any, not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from lakeray.spec.strict import Choice, Complaint, Loc, Spec
from lakeray.spec.texts import Hook, Name, Sql, Text
from lakeray.spec.units import PositiveDuration
from lakeray.spec.wrong import WrongValue

Metric = Literal[
    "pass_rate",
    "rows_read",
    "rows_written",
    "rows_quarantined",
    "rows_dropped",
    "rows_filtered",
    "rows_rescued",
    "objects_failed",
]


class DataQuality(Spec):
    """A number that an import step ended with lies within bounds."""

    step: Name
    """The import step."""
    metric: Metric = "pass_rate"
    """The number. Default: pass_rate, the written share of the rows that were read and not filtered; 1.0 when there are
    none."""
    at_least: float | None = None
    """The least that passes. Default: no bound."""
    at_most: float | None = None
    """The most that passes. Default: no bound."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """No bound, or bounds that nothing can meet."""
        low, high = data.get("at_least"), data.get("at_most")
        if low is None and high is None:
            yield (), WrongValue("data_quality needs at_least or at_most", found="no bound")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield ("at_most",), WrongValue(f"expected at least {low}, as at_least says", found=str(high))


class AccessControl(Spec):
    """Whoever started the run may do something."""

    role: Name | None = None
    """A role that they must have."""
    permission: Text | None = None
    """A permission that they must have, such as `publish`."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Nothing that could be refused."""
        if data.get("role") is None and data.get("permission") is None:
            yield (), WrongValue("access_control needs role or permission", found="neither")


class AlignmentCondition(Spec):
    """A validate step's checks passed."""

    shorthand: ClassVar[str | None] = "step"

    step: Name
    """The validate step."""
    at_least: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of its checks that must have passed, 0 to 1. Default: 1."""


class Approval(Spec):
    """People said yes."""

    role: Name
    """The role of those who may say so."""
    quorum: int = Field(default=1, ge=1, le=100)
    """How many must. Default: 1."""
    expires_in: PositiveDuration | None = None
    """Seconds after which silence is a no. Default: it waits without end."""


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
    """A number that an import step ended with lies within bounds."""
    business_rule: Sql | None = None
    """An expression over `steps.<name>.<metric>`, such as `steps.ingest.rows_written < 10000000`."""
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
