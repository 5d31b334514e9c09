"""How often a step is tried, how long it may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import Name, Text
from lakeray.spec.units import Duration, PositiveDuration
from lakeray.spec.wrong import WrongValue


class Retry(Spec):
    """When a failed attempt is followed by another. Errors that trying again cannot help end a step at once."""

    maximum_attempts: int = Field(default=3, ge=1, le=1000)
    """Attempts in all, the first one included. Default: 3."""
    initial_interval: Duration = 1.0
    """Seconds before the second attempt. Default: 1."""
    backoff_coefficient: float = Field(default=2.0, ge=1.0, le=1000.0)
    """What each further interval is multiplied by. Default: 2."""
    maximum_interval: Duration | None = None
    """Seconds that an interval never exceeds. Default: 100 times the initial one."""
    non_retryable_error_types: list[Text] = Field(default_factory=list)
    """Codes of errors that end the step at once, such as `access_denied`. Default: those that say themselves that a
    retry cannot help."""
    maximum_worker_deaths: int = Field(default=3, ge=1, le=1000)
    """Attempts that may end with the death of their worker before the work is taken for poison and goes to the dead
    letters. Default: 3. Each of them counts among the attempts as well."""
    jitter: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of an interval, 0 to 1, by which chance makes it longer or shorter. Default: 0. Where many steps may
    fail together, 0.2 keeps them from coming back together."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """An error type named twice."""
        yield from repeated(data.get("non_retryable_error_types"), "non_retryable_error_types")

    def interval_s(self, attempt: int) -> float:
        """Seconds to wait after the failed ``attempt``, which counts from 1."""
        ceiling = 100 * self.initial_interval if self.maximum_interval is None else self.maximum_interval
        try:
            grown = self.initial_interval * self.backoff_coefficient ** (attempt - 1)
        except OverflowError:
            return ceiling
        return min(grown, ceiling)


class Queue(Spec):
    """What a step has to hold while it works; until then it waits. Slots of a holder that died free themselves."""

    pool: Name | None = None
    """The pool that it takes slots of, one of `pools` of the file. Default: none."""
    slots: int = Field(default=1, ge=1, le=10_000)
    """Slots of the pool. Default: 1."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Who of those that wait comes first. Default: 0. A step of priority is worth a minute of waiting, so that nobody
    waits for ever."""
    key: Text | None = None
    """Steps with the same key, of all runs of the tenant, keep to `limit`; the name of a table, say. Default: none."""
    limit: int = Field(default=1, ge=1, le=10_000)
    """How many steps with the same key may work at once. Default: 1."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Options of a pool or a key that is not there."""
        if data.get("pool") is None and data.get("key") is None:
            yield (), WrongValue("a queue needs pool or key", found="neither")
        for option, of in (("slots", "pool"), ("limit", "key")):
            if data.get(option) is not None and data.get(of) is None and (data.get("pool") or data.get("key")):
                yield (option,), WrongValue(f"only a {of} has {option}", found=f"no {of}")


class Breaker(Spec):
    """A circuit breaker before a step, shared by all steps of the tenant that name the same dependency."""

    shorthand: ClassVar[str | None] = "dependency"

    dependency: Name
    """What the step depends on, such as a warehouse or a partner."""
    failures: int = Field(default=5, ge=1, le=10_000)
    """Failures within the time below that open it. Default: 5."""
    within: PositiveDuration = 60.0
    """Seconds in which they have to happen. Default: 60."""
    open_for: PositiveDuration = 30.0
    """Seconds for which no step is let through; then one is, on trial. Default: 30. Waiting costs no attempt."""


class Timeouts(Spec):
    """How long a step may take, in parts."""

    schedule_to_start: PositiveDuration | None = None
    """Seconds from being due to its first attempt. Default: no limit."""
    start_to_close: PositiveDuration | None = None
    """Seconds of one attempt. Default: no limit."""
    schedule_to_close: PositiveDuration | None = None
    """Seconds over all attempts. Default: no limit."""
    heartbeat: PositiveDuration | None = None
    """Seconds between two signs of life of an attempt. Default: no limit."""
