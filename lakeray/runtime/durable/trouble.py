"""What becomes of runs when the store is not what it was: taken over by another owner, or without its last events.

A run that has lost events is paused in the store with a sentence about it, and left alone here: what it did outside is
no longer in its history, so a person says whether it goes on. The others go on under a new lease.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from lakeray.errors import Fenced, HistoryWentBack, LakerayError, LeaseHeld, StateError, StateUnavailable
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.decision import Asked, refuse
from lakeray.runtime.durable.held import Held
from lakeray.runtime.durable.inbox import Inbox
from lakeray.runtime.durable.leases import Leases
from lakeray.state import EventStore
from lakeray.workflow.commands import PauseRun
from lakeray.workflow.decide import Decided, decided
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState

_log = logging.getLogger(__name__)
_MOST_KNOWN = 10_000
AGAIN_S = 0.25
"""Seconds after which a store that could not be reached is asked again."""


@dataclass(eq=False)
class Trouble:
    """``turn`` decides on a run, ``let_go`` forgets one that is being left once nothing of it is under way, ``later``
    does something in so many seconds; all in the orchestrator's thread.
    """

    store: EventStore
    leases: Leases
    runs: dict[str, Held]
    inbox: Inbox
    clock: Callable[[], datetime]
    turn: Callable[[Held], None]
    let_go: Callable[[Held], None]
    later: Callable[[float, Callable[[], None]], None]
    given_up: dict[str, str] = field(default_factory=dict)
    _known: dict[str, int] = field(default_factory=dict)
    _regained: set[int] = field(default_factory=set)
    _away: bool = False

    def away(self, error: StateUnavailable, then: Callable[[], None] | None = None) -> None:
        """The store cannot be asked now, which is said once; ``then`` is done a little later."""
        if not self._away:
            _log.warning("the state cannot be used: %s; it is asked until it can be", error.message)
        self._away = True
        if then is not None:
            self.later(AGAIN_S, then)

    def there(self) -> None:
        """The store has answered."""
        if self._away:
            _log.warning("the state can be used again")
        self._away = False

    def left_behind(self, held: Held, error: StateUnavailable) -> None:
        """Wait for the store no longer on behalf of a run that is being left: its next owner reads what became of it,
        and hears what was sent to it.
        """
        for each in self._dropped(held, error):
            if each.sent is not None:
                self.inbox.again(each.sent)
        self.let_go(held)

    # The store went back --------------------------------------------------------------------------------------------

    def refused(self, held: Held, error: Fenced | HistoryWentBack) -> None:
        """The run's append was refused: by a new owner, by a store that went back, or as our own new lease has come
        between. Until it is known what the run is now, nothing is decided on it.
        """
        sending = held.sending
        assert sending is not None
        sending.refused = True
        if sending.append.epoch != self.leases.epoch(held.shard) and self.leases.epoch(held.shard):
            self.look_again(held)
        elif isinstance(error, Fenced):
            self.fenced(held.shard)
        else:
            self.went_back(held.shard)

    def went_back(self, shard: int) -> None:
        """Own the shard anew, then look at each of its runs again."""
        if shard not in self._regained:
            _log.error("the store has lost events of shard %d: its runs are looked at again", shard)
            self._regained.add(shard)
            self._regain(shard)

    def _regain(self, shard: int) -> None:
        try:
            self.leases.take(shard)
        except LeaseHeld:
            self._regained.discard(shard)
            self.fenced(shard)
            return
        except StateUnavailable as error:
            self.away(error, lambda: self._regain(shard))
            for held in self._of(shard):
                if held.leaving and held.sending is not None and held.sending.refused:
                    self.left_behind(held, error)
            return
        self._regained.discard(shard)
        for held in self._of(shard):
            if held.sending is None or held.sending.refused:
                self.look_again(held)

    def look_again(self, held: Held) -> None:
        """The run may not be as it is believed: read it, then decide anew on what was asked, unless it lost events."""
        if self.runs.get(held.run_id) is not held or held.parked is not None:
            return
        try:
            now = journal.load(self.store, held.run_id)
            if self._lost(held, now, known=held.sequence):
                return
        except StateUnavailable as error:
            if held.leaving:
                self.left_behind(held, error)
            else:
                self.away(error, lambda: self.look_again(held))
            return
        except StateError as error:
            self.park(held, error.message)
            return
        held.asked.extendleft(reversed(held.unsend()))
        held.state = now
        self.turn(held)

    def remember(self, held: Held) -> None:
        """The run is held no longer; how far it had come is remembered for a while, also when it was over."""
        self._known[held.run_id] = held.sequence
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def taken_up(self, held: Held) -> None:
        """The run was read again: has it lost events since it was let go? One that is gone was perhaps forgotten.

        Raises StateError.
        """
        if held.state is not None:
            self._lost(held, held.state, known=self._known.get(held.run_id, 0))

    def _lost(self, held: Held, now: RunState | None, *, known: int) -> bool:
        """Park a run of which fewer events are there than are known. Raises StateError."""
        lost = known - (now.sequence if now is not None else 0)
        if lost <= 0:
            return False
        why = f"the store has lost its last {lost} events: find out which backup or replica it came back from"
        if now is not None:
            self._pause(held, now, why)
            held.state = now
        self.park(held, why)
        return True

    def _pause(self, held: Held, now: RunState, why: str) -> None:
        """Have the run's own history say why it does not go on. Raises StateError."""
        try:
            paused = decided(now, PauseRun(at=self.clock(), reason=why))
        except Refused:  # it is over, or nearly
            return
        if not paused.events:
            return
        try:
            self._append(held.shard, now, paused)
        except HistoryWentBack:  # the shard as well: its lease has to be a new one
            self.leases.take(held.shard)
            self._append(held.shard, now, paused)

    def _append(self, shard: int, now: RunState, done: Decided) -> None:
        epoch = self.leases.epoch(shard)
        self.store.append(journal.append_of(done.state, done.events, expected=now.sequence, epoch=epoch))

    # Somebody else, and nobody --------------------------------------------------------------------------------------

    def fenced(self, shard: int) -> None:
        """Drop everything about the shard; whoever owns it now goes on."""
        _log.warning("shard %d was taken over by somebody else", shard)
        self.leases.lost(shard)
        error = Fenced(f"shard {shard} was taken over by another owner", hint="it goes on with the runs")
        for held in self._of(shard):
            del self.runs[held.run_id]
            self._give_up(held, error.message, error)
            for left in held.leaving:
                left.set_result(None)

    def park(self, held: Held, why: str) -> None:
        """Leave the run alone from now on, and say so, to whoever asked something of it as well."""
        _log.error("run %s is parked: %s", held.run_id, why)
        error = parked(held.run_id, why)
        for each in self._give_up(held, why, error):
            if each.sent is not None:
                self.inbox.answer(each.sent, error)
        if held.leaving:
            self.let_go(held)

    def settled(self, held: Held) -> None:
        """A person has something to say to a parked run: it is read anew."""
        del self.runs[held.run_id]
        self.given_up.pop(held.run_id, None)

    def _give_up(self, held: Held, why: str, error: LakerayError) -> list[Asked]:
        """Stop all of the run; what was asked of it, with callers in this process told why nothing becomes of it."""
        held.parked = self.given_up[held.run_id] = why
        self._known.pop(held.run_id, None)
        held.stop(held.at_work)
        dropped = self._dropped(held, error)
        if held.state is not None:
            for listener in held.listeners:
                listener(held.state, [])
        return dropped

    def _dropped(self, held: Held, error: LakerayError) -> list[Asked]:
        dropped = [*held.unsend(), *held.asked]
        held.asked.clear()
        refuse(dropped, error)
        return dropped

    def _of(self, shard: int) -> list[Held]:
        return [held for held in self.runs.values() if held.shard == shard]


def parked(run_id: str, why: str) -> HistoryWentBack:
    """What whoever asks something of a parked run is told."""
    hint = f"when that is settled, `lakeray runs resume {run_id}` goes on with the run"
    return HistoryWentBack(f"run {run_id} is parked: {why}", hint=hint)
