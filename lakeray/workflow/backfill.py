"""A backfill: one run over many partitions, so many at once, that can be paused, cancelled and taken up elsewhere.

Its state is a value that is kept after every change; partitions are made again from the plan, so that what is kept
stays small: one character each. A child's id comes from the backfill, the partition and how often it was begun, so that
beginning it twice is beginning it once. Whoever holds the value may be killed between any two changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

import msgspec

from lakeray.workflow.partitions import Partition, listed, time_ranges

FORMAT = 1
"""Of a kept ``Backfill``. It grows by fields with defaults alone."""

PENDING: Final = "p"
RUNNING: Final = "r"
SUCCEEDED: Final = "s"
FAILED: Final = "f"
CANCELLED: Final = "c"
LEFT_OUT: Final = "-"
"""What a partition is, as one character. One that is left out was done by an earlier backfill."""

Reprocess = Literal["none", "failed", "all"]
Ended = Literal["succeeded", "failed", "cancelled"]


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a backfill is asked to do: time ranges (``start``, ``end``, ``every``) or ``values``.

    ``step`` is the step that is run for each partition, None for the whole workflow; ``concurrency`` how many go on at
    once. ``by`` names the columns of objects' paths that say which partition they belong to; empty: the time at which
    they were changed.
    """

    backfill_id: str
    workflow: str
    step: str | None = None
    start: str | None = None
    end: str | None = None
    every: str | None = None
    timezone: str = "UTC"
    values: tuple[str | int | float, ...] = ()
    concurrency: int = 4
    by: tuple[str, ...] = ()
    reprocess: Reprocess = "none"

    def partitions(self) -> tuple[Partition, ...]:
        """All partitions in their order. Raises BackfillRefused."""
        return _made(self)


@lru_cache(maxsize=64)
def _made(plan: Plan) -> tuple[Partition, ...]:
    if plan.start is None or plan.end is None or plan.every is None:
        return listed(list(plan.values))
    return time_ranges(start=plan.start, end=plan.end, every=plan.every, timezone=plan.timezone)


class Backfill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a backfill stands.

    ``codes`` has a character for each partition; ``begun`` how often a partition was begun, where that is more than
    once; ``since`` when those that run were. ``finished`` and ``busy_s`` are the count and the summed seconds of
    partitions that have ended, for the time that is left.
    """

    plan: Plan
    codes: str
    started_at: datetime
    begun: dict[int, int] = {}
    since: dict[int, datetime] = {}
    finished: int = 0
    busy_s: float = 0.0
    paused: bool = False
    cancelled: bool = False
    format: int = FORMAT


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A run to begin for one partition; ``identity`` tells its imports apart from the running stream's."""

    run_id: str
    index: int
    partition: Partition
    identity: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a backfill is: partitions by what they are; ``left`` is None until one has ended."""

    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    left_out: int
    left: timedelta | None
    state: Literal["running", "paused", "cancelling", "succeeded", "failed", "cancelled"]


def planned(plan: Plan, now: datetime, *, earlier: Iterable[Backfill] = ()) -> Backfill:
    """A backfill that has begun nothing yet; its ``progress`` is the dry run.

    What an earlier backfill of the same workflow and step did to a partition of the same key and range counts, the
    last word about each: ``reprocess`` says which of them are done again: none of those that ended, only the failed,
    or all. What was cancelled or never begun is always done. Raises BackfillRefused.
    """
    partitions = plan.partitions()
    known: dict[Partition, str] = {}
    for other in sorted(earlier, key=lambda each: each.started_at):
        if (other.plan.workflow, other.plan.step) == (plan.workflow, plan.step):
            known.update(
                (partition, code)
                for partition, code in zip(other.plan.partitions(), other.codes, strict=True)
                if code in (SUCCEEDED, FAILED)
            )
    done = {"none": (SUCCEEDED, FAILED), "failed": (SUCCEEDED,), "all": ()}[plan.reprocess]
    codes = "".join(LEFT_OUT if known.get(partition) in done else PENDING for partition in partitions)
    return Backfill(plan=plan, codes=codes, started_at=now)


def window(state: Backfill) -> tuple[Child, ...]:
    """The children to begin now: as many as fit, the earliest partitions first. None while paused or cancelled."""
    room = state.plan.concurrency - state.codes.count(RUNNING)
    if state.paused or state.cancelled or room <= 0:
        return ()
    waiting = [index for index, code in enumerate(state.codes) if code == PENDING][:room]
    partitions = state.plan.partitions() if waiting else ()
    return tuple(_child(state, index, partitions[index]) for index in waiting)


def running(state: Backfill) -> tuple[Child, ...]:
    """The children that go on, as whoever takes the backfill up has to know them."""
    going = [index for index, code in enumerate(state.codes) if code == RUNNING]
    partitions = state.plan.partitions() if going else ()
    return tuple(_child(state, index, partitions[index]) for index in going)


def child_of(state: Backfill, index: int) -> Child:
    """The newest run of a partition, begun or not."""
    return _child(state, index, state.plan.partitions()[index])


def _child(state: Backfill, index: int, partition: Partition) -> Child:
    times = state.begun.get(index, 1)
    return Child(
        run_id=f"{state.plan.backfill_id}-{index:06d}-{times}",
        index=index,
        partition=partition,
        identity=f"backfill/{state.plan.backfill_id}/{partition.key}",
    )


def began(state: Backfill, index: int, now: datetime) -> Backfill:
    """A child that ``window`` named was begun; said again, nothing changes."""
    if state.codes[index] != PENDING:
        return state
    return msgspec.structs.replace(
        state, codes=_coded(state.codes, {index: RUNNING}), since={**state.since, index: now}
    )


def child_ended(state: Backfill, index: int, how: Ended, now: datetime) -> Backfill:
    """A child that went on has ended; said again, nothing changes."""
    if state.codes[index] != RUNNING:
        return state
    code = {"succeeded": SUCCEEDED, "failed": FAILED, "cancelled": CANCELLED}[how]
    since = {other: at for other, at in state.since.items() if other != index}
    return msgspec.structs.replace(
        state,
        codes=_coded(state.codes, {index: code}),
        since=since,
        finished=state.finished + 1,
        busy_s=state.busy_s + (now - state.since[index]).total_seconds(),
    )


def pause(state: Backfill) -> Backfill:
    """Begin no further children; those that go on go on."""
    return msgspec.structs.replace(state, paused=True)


def resume(state: Backfill) -> Backfill:
    """Go on beginning children."""
    return msgspec.structs.replace(state, paused=False)


def cancel(state: Backfill) -> tuple[Backfill, tuple[Child, ...]]:
    """Begin nothing more; the children that go on have to be cancelled too, and are named until they have ended."""
    codes = state.codes.replace(PENDING, CANCELLED)
    ended = msgspec.structs.replace(state, codes=codes, cancelled=True, paused=False)
    return ended, running(ended)


def again(state: Backfill) -> Backfill:
    """Do the failed ones again, and after a cancellation those that it kept from ending; nothing else."""
    redone = [index for index, code in enumerate(state.codes) if code in (FAILED, CANCELLED)]
    begun = {**state.begun, **{index: state.begun.get(index, 1) + 1 for index in redone}}
    codes = _coded(state.codes, dict.fromkeys(redone, PENDING))
    return msgspec.structs.replace(state, codes=codes, begun=begun, cancelled=False, paused=False)


def progress(state: Backfill, now: datetime) -> Progress:
    """How far it is, and about how long it takes from ``now`` on, by the mean of those that have ended."""
    count = Counter(state.codes)
    open_ones = count[PENDING] + count[RUNNING]
    left = None
    if not open_ones:
        left = timedelta()
    elif state.finished:
        mean_s = state.busy_s / state.finished
        done_s = sum(min(mean_s, (now - at).total_seconds()) for at in state.since.values())
        side_by_side = min(state.plan.concurrency, open_ones)
        left = timedelta(seconds=max(0.0, open_ones * mean_s - done_s) / side_by_side)
    return Progress(
        total=len(state.codes),
        pending=count[PENDING],
        running=count[RUNNING],
        succeeded=count[SUCCEEDED],
        failed=count[FAILED],
        cancelled=count[CANCELLED],
        left_out=count[LEFT_OUT],
        left=left,
        state=_state(state, count),
    )


def _state(
    state: Backfill, count: Counter[str]
) -> Literal["running", "paused", "cancelling", "succeeded", "failed", "cancelled"]:
    if count[PENDING] or count[RUNNING]:
        return "cancelling" if state.cancelled else "paused" if state.paused else "running"
    if state.cancelled:
        return "cancelled"
    return "failed" if count[FAILED] or count[CANCELLED] else "succeeded"


def _coded(codes: str, changed: dict[int, str]) -> str:
    listed_codes = list(codes)
    for index, code in changed.items():
        listed_codes[index] = code
    return "".join(listed_codes)
