"""A workflow as a run keeps it: the plan of every step as plain values that outlive changes of the file.

A run's first event holds its definition, so that the run goes on with it whatever becomes of the file. The engine reads
the plans alone; ``document`` is the whole file for those who do the work, with secrets as the references that they are.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

FORMAT = 1
"""Of the bytes of a definition. Fields with defaults may come; a reader refuses a higher number."""

OnFailure = Literal["fail", "skip_dependents", "continue"]


class RetryPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a failed attempt is followed by another; Temporal's field names with units.

    ``maximum_worker_deaths``: attempts whose worker died after which the work is taken for poison.
    ``jitter``: share of an interval, 0 to 1, by which it is made longer or shorter.
    """

    maximum_attempts: int = 3
    initial_interval_s: float = 1.0
    backoff_coefficient: float = 2.0
    maximum_interval_s: float = 100.0
    non_retryable_error_types: tuple[str, ...] = ()
    maximum_worker_deaths: int = 3
    jitter: float = 0.0


class TimeoutPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds; None is no limit."""

    schedule_to_start_s: float | None = None
    start_to_close_s: float | None = None
    schedule_to_close_s: float | None = None
    heartbeat_s: float | None = None


class QueuePlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step must hold while it works: ``slots`` of ``pool``, one of ``limit`` places under ``key``.

    A higher ``priority`` is served first.
    """

    pool: str | None = None
    slots: int = 1
    priority: int = 0
    key: str | None = None
    limit: int = 1


class BreakerPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which circuit breaker stands before a step; shared by all steps of the tenant that name ``dependency``."""

    dependency: str
    failures: int = 5
    within_s: float = 60.0
    open_for_s: float = 30.0


class StepPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step. ``body`` is what stands under its kind in the file, ``requires`` and ``ensures`` are conditions.

    ``dependents`` are the steps that name it in their ``after``. ``child`` is the definition behind a ``workflow`` (or
    a map's); None leaves ``body``'s file to whoever starts the child. ``resources`` are Ray's names and amounts.
    """

    name: str
    kind: str
    body: Any = None
    after: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()
    requires: Any = None
    ensures: Any = None
    retry: RetryPlan = RetryPlan()
    timeouts: TimeoutPlan = TimeoutPlan()
    on_failure: OnFailure = "fail"
    compensate: str | None = None
    compensate_retry: RetryPlan = RetryPlan(maximum_attempts=10)
    queue: QueuePlan | None = None
    breaker: BreakerPlan | None = None
    resources: dict[str, float] = {}
    child: Definition | None = None

    @property
    def starts_children(self) -> bool:
        """Whether runs of their own do the work."""
        return self.kind == "workflow" or (self.kind == "map" and self.body.get("workflow") is not None)

    @property
    def concurrency(self) -> int:
        """How many chunks of a map may be at work at once."""
        return int(self.body.get("concurrency", 4)) if self.kind == "map" else 1


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A workflow as a run keeps it. ``steps`` come in an order in which each stands behind all that it is after.

    ``document`` is the workflow file as JSON values; ``file`` is where it was read from, for messages and for relative
    paths in it.
    """

    workflow: str
    tenant: str
    steps: dict[str, StepPlan]
    document: dict[str, Any] = {}
    file: str | None = None
    format: int = FORMAT


_ENCODE = msgspec.json.Encoder(order="sorted").encode
_DECODE = msgspec.json.Decoder(Definition).decode


def encode_definition(definition: Definition) -> bytes:
    """The definition as JSON; equal definitions give equal bytes, but for the order of ``steps``, which is kept."""
    return msgspec.json.encode(definition)


def decode_definition(data: bytes) -> Definition:
    """What ``encode_definition`` wrote. Raises ValueError for anything else and for a format from the future."""
    try:
        definition = _DECODE(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"these bytes are no definition: {error}") from error
    if definition.format > FORMAT:
        raise ValueError(f"the definition has format {definition.format}, this version reads up to {FORMAT}")
    return definition


def definition_hash(definition: Definition) -> str:
    """Equal for two files that say the same, in any order of their keys; where the file lies does not count.

    32 hexadecimal digits of BLAKE2b over sorted JSON.
    """
    plain = msgspec.structs.replace(definition, file=None)
    return hashlib.blake2b(_ENCODE(plain), digest_size=16).hexdigest()


_SHARED: OrderedDict[tuple[object, ...], Definition] = OrderedDict()
_MOST_SHARED = 256


def shared(definition: Definition, digest: str) -> Definition:
    """An equal definition that other runs hold already, so that ten thousand runs of one file hold it once."""
    key = (digest, definition.file, *definition.steps)
    known = _SHARED.get(key)
    if known is not None and known == definition:
        return known
    _SHARED[key] = definition
    if len(_SHARED) > _MOST_SHARED:
        _SHARED.popitem(last=False)
    return definition


def downstream(steps: Mapping[str, StepPlan], name: str) -> set[str]:
    """The step and all that come after it, directly or through others."""
    found, waiting = {name}, [name]
    while waiting:
        for after in steps[waiting.pop()].dependents:
            if after not in found:
                found.add(after)
                waiting.append(after)
    return found
