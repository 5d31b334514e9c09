"""What a gate may look at: plain values, so that a verdict can be repeated from what was written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from lakeray.security.principal import Principal

Number = int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectationFacts:
    """One expectation of an import step: rows looked at (batches for one of ``expect_set``), and violations of them."""

    checked: int
    violated: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignmentFacts:
    """A validate step's checks: how many passed, failed, could not be decided."""

    passed: int
    failed: int
    undecided: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFacts:
    """What a step ended with. ``metrics`` has those of ``STEP_METRICS`` that are known; ``output`` is JSON."""

    state: str
    metrics: Mapping[str, Number] = field(default_factory=dict)
    expectations: Mapping[str, ExpectationFacts] = field(default_factory=dict)
    alignment: AlignmentFacts | None = None
    output: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """A person's word about a gate, as the run's events have it.

    ``by`` has the roles of that moment. ``condition`` is the path of the approval that is meant; None means every
    approval of the gate for which they may speak.
    """

    by: Principal
    says: Literal["approve", "reject"]
    at: datetime
    comment: str = ""
    condition: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Everything that a gate may look at.

    ``started_by`` began the run; ``also_started_by`` are names of those who set it going again (resumed, retried,
    forked it). ``opened_at`` is when the run came to the gate, ``deadline`` when unknown becomes a refusal, ``now``
    the time of this look; all are aware of their zone. ``votes`` stand in the order in which they were given.
    """

    run_id: str
    workflow: str
    tenant: str
    started_by: Principal
    opened_at: datetime
    now: datetime
    deadline: datetime | None = None
    also_started_by: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, StepFacts] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    votes: tuple[Vote, ...] = ()
