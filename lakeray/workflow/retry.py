"""Whether a failed attempt is followed by another, when that one begins, and when work is taken for poison."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from lakeray.workflow.definition import RetryPlan, TimeoutPlan
from lakeray.workflow.events import Cause, Failure
from lakeray.workflow.state import Tries


@dataclass(frozen=True, kw_only=True)
class Again:
    """Another attempt begins at ``at``."""

    at: datetime


@dataclass(frozen=True, kw_only=True)
class Over:
    """There is no other attempt; ``poison``: because the work kills its workers."""

    poison: bool = False


def after_failure(
    *,
    retry: RetryPlan,
    timeouts: TimeoutPlan,
    tries: Tries,
    error: Failure,
    cause: Cause,
    at: datetime,
    chance: str,
) -> Again | Over:
    """What follows the failure, at ``at``, of the current attempt of ``tries``, whose deaths do not count it yet.

    A worker's death uses up an attempt like any failure; whoever says ``maximum_attempts: 1`` means at most once. An
    attempt that would begin after ``schedule_to_close`` is not made. ``chance`` names the attempt; its jitter is drawn
    from it, so that it is the same whenever the decision is made again.
    """
    deaths = tries.deaths + (cause == "worker_died")
    if cause == "worker_died" and deaths >= retry.maximum_worker_deaths:
        return Over(poison=True)
    hopeless = cause == "error" and not error.retryable
    if hopeless or error.code in retry.non_retryable_error_types or tries.used >= retry.maximum_attempts:
        return Over()
    begin = at + timedelta(seconds=interval_s(retry, tries.used, chance))
    limit_s = timeouts.schedule_to_close_s
    if limit_s is not None and tries.opened_at is not None and begin >= tries.opened_at + timedelta(seconds=limit_s):
        return Over()
    return Again(at=begin)


def interval_s(retry: RetryPlan, used: int, chance: str) -> float:
    """Seconds between the failure of the ``used``-th attempt (from 1) and the next one.

    initial_interval * backoff_coefficient ** (used - 1), at most maximum_interval, times a factor that is spread evenly
    over 1 - jitter to 1 + jitter.
    """
    try:
        grown = retry.initial_interval_s * retry.backoff_coefficient ** (used - 1)
    except OverflowError:
        grown = retry.maximum_interval_s
    capped = min(grown, retry.maximum_interval_s)
    return capped * (1.0 + retry.jitter * (2.0 * uniform(chance) - 1.0)) if retry.jitter else capped


def uniform(chance: str) -> float:
    """A number from 0 to below 1 that belongs to the text, on every machine and in every version."""
    return int.from_bytes(hashlib.blake2b(chance.encode(), digest_size=8).digest(), "big") / 2**64
