"""How often a step is tried, how long it may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import Text
from lakeray.spec.units import Duration, PositiveDuration


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
