"""Who is told of what becomes of runs: signed webhooks of a workflow file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import SecretRef, WebAddress
from lakeray.spec.units import PositiveDuration

Notice = Literal[
    "run.started",
    "run.waiting",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "step.dead_lettered",
    "schedule.missed",
    "schedule.paused",
    "expect.missed",
]


class Notify(Spec):
    """An HTTP address that is told of events, each as a CloudEvent in JSON, signed as Standard Webhooks are.

    At least once: `webhook-id` is the same at every try. Private and loopback addresses need LAKERAY_PRIVATE_HOSTS.
    """

    url: WebAddress
    """Where events are posted to."""
    secret: SecretRef
    """Reference to the key that signs each request, HMAC-SHA256: env:NAME or file:/path. A key that begins with
    `whsec_` is base64."""
    on: list[Notice] = Field(default=["run.failed", "run.waiting", "expect.missed"], min_length=1)
    """What it is told of. Default: run.failed, run.waiting (for a person) and expect.missed. `run.cancelled` is also
    said of terminated runs."""
    timeout: PositiveDuration = 10.0
    """Seconds to wait for an answer. Default: 10."""
    maximum_attempts: int = Field(default=12, ge=1, le=100)
    """Tries until an event is kept as a dead letter. Default: 12, which take about 16 hours. An address that answers
    410 gets no second one."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """An event named twice."""
        yield from repeated(data.get("on"), "on")
