"""What a look at one condition finds, before it is written down as evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lakeray.gates.judgement import ApprovalNeed, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A verdict with the sentence and the values for its evidence; ``need`` is what an open approval waits for."""

    verdict: Verdict
    said: str
    values: dict[str, Any] = field(default_factory=dict)
    policy_revision: str | None = None
    need: ApprovalNeed | None = None


def unknown(said: str, **values: Any) -> Finding:
    """A look that could not tell."""
    return Finding(verdict=Verdict.UNKNOWN, said=said, values=values)
