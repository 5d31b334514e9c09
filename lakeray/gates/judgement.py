"""A verdict with everything that led to it, as it is kept in the run's events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from lakeray.errors import LakerayError

FORMAT: Final = 1
"""Of a judgement's bytes. They grow by fields with defaults alone."""


class Verdict(StrEnum):
    """Kleene's three truth values: unknown is what more knowledge could make true or false."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, value: bool) -> Verdict:
        """The verdict that is a truth value."""
        return cls.TRUE if value else cls.FALSE

    @classmethod
    def all(cls, parts: Iterable[Verdict]) -> Verdict:
        """True when all are; false when one is."""
        found = set(parts)
        return cls.FALSE if cls.FALSE in found else cls.UNKNOWN if cls.UNKNOWN in found else cls.TRUE

    @classmethod
    def any(cls, parts: Iterable[Verdict]) -> Verdict:
        """True when one is; false when all are."""
        return cls.all(part.negated for part in parts).negated

    @property
    def negated(self) -> Verdict:
        """True for false, false for true."""
        turned = {Verdict.TRUE: Verdict.FALSE, Verdict.FALSE: Verdict.TRUE}
        return turned.get(self, Verdict.UNKNOWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What one condition saw.

    ``path`` is its place in the gate, as ``all[0].data_quality``; ``said`` a sentence for a person; ``values`` the
    numbers and names that it rests on, as JSON; ``policy_revision`` the revision of the policy that an access
    decision was made by.
    """

    path: str
    kind: str
    verdict: Verdict
    said: str
    at: datetime
    values: dict[str, Any] = field(default_factory=dict)
    policy_revision: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalNeed:
    """People whose word a gate waits for.

    ``roles`` are those who may speak now, the one that was asked first before the one that it ``escalated`` to.
    ``given`` are the names of those who said yes, ``missing`` how many more must, ``excluded`` names that may not
    because of ``four_eyes``; ``until`` is when something changes by silence alone.
    """

    path: str
    roles: tuple[str, ...]
    quorum: int
    given: tuple[str, ...]
    missing: int
    four_eyes: bool = False
    excluded: tuple[str, ...] = ()
    escalated: bool = False
    comment_required: bool = False
    until: datetime | None = None


Outcome = Literal["passed", "refused", "waiting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What a gate came to in one look.

    ``outcome`` is what the run does about ``verdict``. ``waits_for`` names the approvals that could still decide it,
    ``look_again_at`` the next time at which a look can end otherwise although nobody did anything.
    """

    verdict: Verdict
    outcome: Outcome
    reason: str
    evidence: tuple[Evidence, ...]
    at: datetime
    waits_for: tuple[ApprovalNeed, ...] = ()
    look_again_at: datetime | None = None
    format: int = FORMAT

    def seen(self, path: str, kind: str) -> Evidence | None:
        """The evidence of a condition that was decided, which no later look changes."""
        return next(
            (
                item
                for item in self.evidence
                if (item.path, item.kind) == (path, kind) and item.verdict is not Verdict.UNKNOWN
            ),
            None,
        )


class JudgementUnreadable(LakerayError):
    """The bytes are no judgement that this version knows."""

    code = "judgement_unreadable"


def encode(judgement: Judgement) -> bytes:
    """JSON that ``decode`` takes, in this version and later ones."""
    return msgspec.json.encode(judgement)


def decode(data: bytes) -> Judgement:
    """The judgement that ``encode`` wrote. Raises JudgementUnreadable, also for a format that is newer than this."""
    try:
        found = msgspec.json.decode(data, type=Judgement)
    except msgspec.MsgspecError as error:
        raise JudgementUnreadable(f"a gate's judgement cannot be read: {error}") from None
    if not 1 <= found.format <= FORMAT:
        raise JudgementUnreadable(
            f"a gate's judgement has format {found.format}, this version knows up to {FORMAT}",
            hint="use the version of lakeray that wrote it, or a newer one",
        )
    return found
