"""What happens when a run is due while another of the same schedule or trigger goes on.

The six policies of Temporal's schedules, as pure values. A lane is kept before its actions are carried out; whoever is
killed in between, or takes the lane over, carries out ``unfinished`` again: a run's id comes from its fire's key, so
that beginning it twice is beginning it once, and so it is with cancelling.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec

from lakeray.spec.schedule import Overlap

MOST_WAITING = 1_000
"""Fires that wait at most, so that a schedule faster than its runs does not grow without end."""


class Fire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reason to begin one run.

    ``key`` is unique within the workflow and the same whoever finds the reason, however often: the run's id comes from
    it. ``name`` is ``schedule`` or the trigger's, ``at`` the nominal time, ``detail`` what the run may know about it.
    """

    key: str
    name: str
    at: datetime
    detail: dict[str, str] = {}


class Lane(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Runs of one schedule or trigger, by their fires.

    ``running`` were begun and have not ended; ``cancelling`` and ``terminating`` are the keys of those of them that
    were asked to end. ``waiting`` begin when nothing runs, oldest first.
    """

    running: tuple[Fire, ...] = ()
    cancelling: tuple[str, ...] = ()
    terminating: tuple[str, ...] = ()
    waiting: tuple[Fire, ...] = ()

    def runs(self, key: str) -> bool:
        """Whether the run of ``key`` goes on."""
        return any(fire.key == key for fire in self.running)


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Begin the run of ``fire``."""

    fire: Fire


class Skip(msgspec.Struct, frozen=True, kw_only=True, tag="skip"):
    """No run begins for ``fire``, for ``reason``."""

    fire: Fire
    reason: str


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel"):
    """Cancel the run of ``key``, with its clean-up."""

    key: str


class Terminate(msgspec.Struct, frozen=True, kw_only=True, tag="terminate"):
    """End the run of ``key`` at once."""

    key: str


Action = Start | Skip | Cancel | Terminate


def fired(lane: Lane, policy: Overlap, fire: Fire) -> tuple[Lane, tuple[Action, ...]]:
    """What a fire does. One that is known already does nothing more."""
    if lane.runs(fire.key) or any(fire.key == other.key for other in lane.waiting):
        return lane, ()
    if policy == "allow_all" or not (lane.running or lane.waiting):
        return _with(lane, running=(*lane.running, fire)), (Start(fire=fire),)
    if policy == "skip":
        return lane, (Skip(fire=fire, reason="another run goes on"),)
    if policy in ("buffer_one", "buffer_all"):
        return _buffered(lane, fire, most=1 if policy == "buffer_one" else MOST_WAITING)
    overtaken = tuple(Skip(fire=other, reason="a later one came before it began") for other in lane.waiting)
    going = [other.key for other in lane.running if other.key not in lane.terminating]
    if policy == "terminate_other":
        ending = tuple(Terminate(key=key) for key in going)
        terminating = (*lane.terminating, *going)
        after = _with(lane, running=(*lane.running, fire), terminating=terminating, waiting=())
        return after, (*overtaken, *ending, Start(fire=fire))
    asked = tuple(key for key in going if key not in lane.cancelling)
    after = _with(lane, cancelling=(*lane.cancelling, *asked), waiting=(fire,))
    return after, (*overtaken, *(Cancel(key=key) for key in asked))


def ended(lane: Lane, key: str, *, hold: bool = False) -> tuple[Lane, tuple[Action, ...]]:
    """What the end of a run does: when nothing runs any more, the oldest that waits begins, unless ``hold``."""
    left = Lane(
        running=tuple(other for other in lane.running if other.key != key),
        cancelling=tuple(other for other in lane.cancelling if other != key),
        terminating=tuple(other for other in lane.terminating if other != key),
        waiting=lane.waiting,
    )
    return (left, ()) if hold else released(left)


def released(lane: Lane) -> tuple[Lane, tuple[Action, ...]]:
    """The oldest that waits begins, when nothing runs."""
    if lane.running or not lane.waiting:
        return lane, ()
    first, *rest = lane.waiting
    return _with(lane, running=(first,), waiting=tuple(rest)), (Start(fire=first),)


def unfinished(lane: Lane) -> tuple[Action, ...]:
    """What a lane that was kept may still have to be done, or done again."""
    return (
        *(Start(fire=fire) for fire in lane.running),
        *(Cancel(key=key) for key in lane.cancelling),
        *(Terminate(key=key) for key in lane.terminating),
    )


def _buffered(lane: Lane, fire: Fire, *, most: int) -> tuple[Lane, tuple[Action, ...]]:
    if len(lane.waiting) >= most:
        reason = "one waits already" if most == 1 else f"{most} wait already"
        return lane, (Skip(fire=fire, reason=reason),)
    return _with(lane, waiting=(*lane.waiting, fire)), ()


def _with(lane: Lane, **changed: object) -> Lane:
    return msgspec.structs.replace(lane, **changed)


def share(text: str) -> float:
    """A number from 0 to below 1 that looks random and is the same for the same text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
