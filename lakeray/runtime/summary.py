"""What a run did, as values that the report renders."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

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


class StepSummary(Summary):
    """One step of a run. ``said`` are sentences about what a gate found."""

    name: str
    kind: str
    state: State
    attempts: int = 1
    started_at: datetime | None = None
    duration_s: float = 0.0
    imported: ImportSummary | None = None
    maintained: MaintainSummary | None = None
    said: list[str] = Field(default_factory=list)
    error: ErrorSummary | None = None


class RunSummary(Summary):
    """One run of a workflow. ``needs`` are people that it waits for. ``security`` holds audit lines such as which
    secret references were resolved (never their values).
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
    environment: dict[str, str] = Field(default_factory=dict)
