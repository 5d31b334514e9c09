"""What a run did, as values that the report renders."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from lakeray.importer.recording.summary import ImportSummary, Summary

State = Literal["pending", "running", "succeeded", "failed", "cancelled", "skipped", "waiting"]


class ErrorSummary(Summary):
    """One error: ``code`` is stable over releases, ``hint`` says what to do."""

    step: str | None = None
    code: str
    message: str
    hint: str | None = None
    uri: str | None = None
    retryable: bool = False


class MaintainSummary(Summary):
    """Upkeep of one table: what was ``done``, a sentence each."""

    table: str
    table_uri: str
    done: list[str] = Field(default_factory=list)
    table_version: int | None = None


class NeedSummary(Summary):
    """People that a gate waits for: ``missing`` more of ``roles``, before ``until``; ``given`` are who said yes."""

    step: str
    roles: list[str]
    quorum: int = 1
    given: list[str] = Field(default_factory=list)
    missing: int = 1
    comment_required: bool = False
    until: datetime | None = None


class ConditionSummary(Summary):
    """What one condition of a gate saw, as it was written down then. ``path`` is its place in the gate."""

    path: str
    kind: str
    verdict: str
    said: str
    at: datetime
    values: dict[str, Any] = Field(default_factory=dict)
    policy_revision: str | None = None


class UndoSummary(Summary):
    """How a step's effects were taken back, or why they could not be."""

    state: Literal["undone", "undoing", "failed"]
    attempts: int = 1
    said: str = ""


class StepSummary(Summary):
    """One step of a run, which came ``after`` others. ``said`` are sentences about what a gate found, ``conditions``
    the evidence behind them. ``spent_s`` are the seconds of its life by what it did, the longest first.
    """

    name: str
    kind: str
    state: State
    attempts: int = 1
    after: list[str] = Field(default_factory=list)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float = 0.0
    spent_s: dict[str, float] = Field(default_factory=dict)
    imported: ImportSummary | None = None
    maintained: MaintainSummary | None = None
    said: list[str] = Field(default_factory=list)
    conditions: list[ConditionSummary] = Field(default_factory=list)
    undone: UndoSummary | None = None
    error: ErrorSummary | None = None


class RunSummary(Summary):
    """One run of a workflow. ``needs`` are people that it waits for, ``tolerated`` steps that failed and were allowed
    to. ``security`` holds audit lines such as which secret references were resolved (never their values).
    """

    run_id: str
    workflow: str
    tenant: str
    state: State
    started_at: datetime
    duration_s: float = 0.0
    steps: list[StepSummary] = Field(default_factory=list)
    errors: list[ErrorSummary] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    security: list[str] = Field(default_factory=list)
    needs: list[NeedSummary] = Field(default_factory=list)
    tolerated: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
