"""A circuit breaker as a value: closed until failures gather, then open for a while, then half open for one trial.

After M. Nygard, Release It!, chapter 5. It is kept as a small document that all orchestrators compare and set; whoever
loses the race looks again. Attempts that are held back are deferred and cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from lakeray.workflow.definition import BreakerPlan
from lakeray.workflow.events import Cause, Failure


class Breaker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``failures`` are the instants of those that count, the oldest first. ``trial`` is the work that is let through
    to try, since ``tried_at``.
    """

    failures: tuple[datetime, ...] = ()
    opened_at: datetime | None = None
    trial: str | None = None
    tried_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Whether work may begin; if not, when to ask again."""

    breaker: Breaker
    allowed: bool
    ask_again_at: datetime | None = None


def register(tenant: str, dependency: str) -> str:
    """The name of the document that holds the breaker."""
    return f"breakers/{tenant}/{dependency}"


def encode_breaker(breaker: Breaker) -> bytes:
    """The document."""
    return msgspec.json.encode(breaker)


def decode_breaker(data: bytes) -> Breaker:
    """What the document says. Raises ValueError for anything else."""
    try:
        return msgspec.json.decode(data, type=Breaker)
    except msgspec.DecodeError as error:
        raise ValueError(f"these bytes are no circuit breaker: {error}") from error


def admit(breaker: Breaker, plan: BreakerPlan, work: str, now: datetime) -> Admission:
    """Ask for the work with this key. A trial that says nothing for ``open_for`` is taken for lost."""
    if breaker.opened_at is None or breaker.trial == work:
        return Admission(breaker=breaker, allowed=True)
    since = breaker.tried_at or breaker.opened_at
    ends = since + timedelta(seconds=plan.open_for_s)
    if now < ends:
        return Admission(breaker=breaker, allowed=False, ask_again_at=ends)
    return Admission(breaker=replace(breaker, trial=work, tried_at=now), allowed=True)


def why(breaker: Breaker, plan: BreakerPlan) -> str:
    """Why work is held back, in words."""
    if breaker.opened_at is None:
        return f"the circuit breaker {plan.dependency} is closed"
    held = "another step is let through to try" if breaker.trial is not None else "too many failures"
    return f"the circuit breaker {plan.dependency} is open since {breaker.opened_at:%H:%M:%S} UTC: {held}"


def counts(error: Failure, cause: Cause) -> bool:
    """Whether a failure speaks against the dependency: not where a retry cannot help, nor where the worker died."""
    return cause == "timeout" or (cause == "error" and error.retryable)


def failed(breaker: Breaker, plan: BreakerPlan, work: str, now: datetime) -> Breaker:
    """After a failure that counts. Work that began before the breaker opened changes nothing any more."""
    if breaker.opened_at is not None:
        return Breaker(opened_at=now) if breaker.trial == work else breaker
    oldest = now - timedelta(seconds=plan.within_s)
    recent = (*(at for at in breaker.failures if at > oldest), now)
    return Breaker(opened_at=now) if len(recent) >= plan.failures else Breaker(failures=recent)


def succeeded(breaker: Breaker, work: str) -> Breaker:
    """After a success: the trial's closes the breaker."""
    return Breaker() if breaker.opened_at is not None and breaker.trial == work else breaker
