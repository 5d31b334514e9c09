"""The loop that drives runs: it hears what is asked and reported, decides, appends, begins what ought to go on.

- The store decides, the loop proposes: a state is believed, and work begun, once its events are acknowledged. A reply
  that got lost is asked for again under the same append id; a shard that somebody else took over is dropped whole.
- Recovery is the same loop: what ``todo`` names and is not under way is begun, whoever should have done it before.
- One append of a run is under way at a time, of all runs together as many as there are; the store groups them.
- Nothing here knows Ray, or what a step does: that is behind ``Workers``.

One thread runs it. Everything public may be called from any thread, but for ``open`` and ``close``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from functools import partial

from lakeray.errors import Fenced, HistoryWentBack, LakerayError, SequenceConflict, StateError, StateUnavailable
from lakeray.failpoints import failpoint
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.children import Children
from lakeray.runtime.durable.decision import Asked, Taken, refuse, take_turn
from lakeray.runtime.durable.ears import ears
from lakeray.runtime.durable.held import Held, Listener, Sending, wanted
from lakeray.runtime.durable.inbox import Inbox, answers_to
from lakeray.runtime.durable.leases import Leases
from lakeray.runtime.durable.limits import Limits
from lakeray.runtime.durable.loop import Loop
from lakeray.runtime.durable.port import Job, WorkersOf
from lakeray.state import Appended, EventStore, shard_of
from lakeray.workflow.commands import Command, TimePassed
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import StartChild, StopChild, Work

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_RETRIES_UNSAID = 3
_RETRY_FIRST_S, _RETRY_LAST_S = 0.05, 5.0


class Orchestrator:
    """Drives runs of one store. ``adopt`` makes workers for runs that nobody attends to; None leaves these alone."""

    def __init__(
        self,
        store: EventStore,
        *,
        owner: str,
        clock: Callable[[], datetime],
        adopt: WorkersOf | None = None,
        ttl_s: float = 15.0,
        poll_s: float = _POLL_S,
    ) -> None:
        self.store = store
        self.owner = owner
        self._clock = clock
        self._adopt = adopt
        self._leases = Leases(store, owner, ttl_s)
        self._inbox = Inbox(store)
        self._children = Children(self)
        self.limits = Limits(store, owner=owner, epoch=self._leases.epoch, clock=clock, tell=self.tell, wake=self._look)
        self._ears = ears(store, self.limits)
        self._runs: dict[str, Held] = {}
        self._given_up: dict[str, str] = {}
        self._loop = Loop("lakeray-orchestrator", self._tick, poll_s)

    # From any thread ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Own the store's runs. Raises LeaseHeld where somebody else does."""
        self._leases.take_all()
        self._loop.start()

    def close(self) -> None:
        """Leave all runs as they are and let the next owner in."""
        self._loop.end()
        self._leases.release_all()

    def drive(self, run_id: str, workers_of: WorkersOf, listener: Listener | None = None) -> None:
        """Attend to the run from now on, also when it is yet to be accepted."""
        self._loop.post(lambda: self._drive(run_id, workers_of, listener))

    def tell(self, run_id: str, command: Command) -> Future[RunState]:
        """Have the run decide on a command; its state behind it. The future raises Refused, or why it is not known."""
        asked = Asked(command, reply=Future())
        assert asked.reply is not None
        self._loop.post(lambda: self._ask(run_id, asked))
        return asked.reply

    def leave(self, run_id: str) -> Future[None]:
        """Stop what works for the run and its children, then let go of it: done when nothing of it is under way."""
        left: Future[None] = Future()
        self._loop.post(lambda: self._leave(run_id, left))
        return left

    def state(self, run_id: str) -> RunState | None:
        """The run as it is held here, as of its last acknowledged event."""
        held = self._runs.get(run_id)
        return held.state if held is not None else None

    def now(self) -> datetime:
        """The orchestrator's clock."""
        return self._clock()

    def parked(self, run_id: str) -> str | None:
        """Why the run is not driven on here: it was taken over, or needs a person."""
        return self._given_up.get(run_id)

    # The loop -------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """What nobody tells: leases that run out, commands of other processes, orphans."""
        try:
            for shard in self._leases.renew():
                self._fenced(shard)
            for run_id, asked in self._inbox.received(self._leases.shards):
                self._ask(run_id, asked)
            self.limits.look(lambda run_id: wanted(self._runs.get(run_id), self._clock()))
            if self._adopt is not None:
                self._take_over(self._adopt)
        except StateUnavailable as error:
            _log.warning("the state cannot be reached: %s", error.message)

    def _take_over(self, workers_of: WorkersOf) -> None:
        """Orphans: active runs that nobody here holds."""
        for shard in self._leases.shards:
            for head in self.store.active(shard):
                if head.run_id not in self._runs or not self._runs[head.run_id].attended:
                    _log.info("run %s is taken over", head.run_id)
                    self._drive(head.run_id, workers_of, None)

    # Runs -----------------------------------------------------------------------------------------------------------

    def _drive(self, run_id: str, workers_of: WorkersOf, listener: Listener | None) -> None:
        held = self._hold(run_id)
        held.attended = True
        held.workers_of = workers_of
        if listener is not None:
            held.listeners.append(listener)
            if held.state is not None:
                listener(held.state, [])
        if held.state is not None:
            self._children.look(held.state, workers_of)
        self._turn(held)

    def _hold(self, run_id: str) -> Held:
        held = self._runs.get(run_id)
        if held is None:
            held = Held(run_id=run_id, shard=shard_of(run_id, self.store.shards))
            self._read(held)
            self._runs[run_id] = held
        return held

    def _read(self, held: Held) -> None:
        try:
            held.state = journal.load(self.store, held.run_id)
            held.snapshot_at = held.sequence
        except StateUnavailable:
            raise
        except StateError as error:
            self._park(held, error.message)

    def _ask(self, run_id: str, asked: Asked) -> None:
        try:
            held = self._hold(run_id)
        except StateUnavailable as error:
            refuse([asked], error)
            return
        held.asked.append(asked)
        self._turn(held)

    def _leave(self, run_id: str, left: Future[None]) -> None:
        held = self._runs.get(run_id)
        if held is None:
            left.set_result(None)
            return
        for child in [each for each in self._runs.values() if each.state is not None and each.state.parent is not None]:
            if child.state is not None and child.state.parent and child.state.parent.run_id == run_id:
                self._leave(child.run_id, Future())
        held.leaving.append(left)
        held.stop(held.at_work)
        self._turn(held)
        self._let_go(held)

    def _let_go(self, held: Held) -> None:
        """Forget a run that nobody attends to, or that is being left, once nothing of it is under way."""
        over = held.state is not None and held.state.ended is not None and not held.listeners
        done_with = held.leaving or over or not held.attended
        if held.idle and done_with and self._runs.get(held.run_id) is held:
            del self._runs[held.run_id]
            for left in held.leaving:
                left.set_result(None)

    def _park(self, held: Held, why: str) -> None:
        """Leave the run alone from now on, and say so."""
        _log.error("run %s is parked: %s", held.run_id, why)
        held.parked = self._given_up[held.run_id] = why
        held.stop(held.at_work)
        refused, held.asked = list(held.asked), type(held.asked)()
        refuse(refused, HistoryWentBack(f"run {held.run_id} is parked: {why}"))
        if held.state is not None:
            for listener in held.listeners:
                listener(held.state, [])

    # Turns ----------------------------------------------------------------------------------------------------------

    def _turn(self, held: Held) -> None:
        """Decide on what was asked and on what ought to go on, unless an append is under way."""
        if held.sending is not None or held.parked is not None:
            return
        if held.workers is None and held.workers_of is not None and held.state is not None:
            held.workers = self.limits.around(held.workers_of(held.state), held.state)
        may_begin = not held.leaving and self._leases.sure(held.shard)
        asked, held.asked = list(held.asked), type(held.asked)()
        taken = take_turn(
            held.state,
            asked,
            now=self._clock(),
            at_work=held.at_work.keys(),
            workers=held.workers if may_begin else None,
            owner=self.owner,
        )
        if taken.events:
            assert taken.state is not None
            append = journal.append_of(
                taken.state,
                taken.events,
                expected=held.sequence,
                epoch=self._leases.epoch(held.shard),
                answers=answers_to(taken.told),
            )
            held.sending = Sending(append=append, taken=taken)
            self._send(held, held.sending)
            return
        for each, refused in taken.told:
            if each.sent is not None:
                self._inbox.answer(each.sent, refused)
        self._follow(held, taken)

    def _send(self, held: Held, sending: Sending) -> None:
        sending.tries += 1
        try:
            sending.future = self.store.submit(sending.append)
        except LakerayError as error:
            sending.future = Future()
            sending.future.set_exception(error)
        sending.future.add_done_callback(lambda done: self._loop.post(lambda: self._sent(held, sending, done)))

    def _sent(self, held: Held, sending: Sending, done: Future[Appended]) -> None:
        if held.sending is not sending:
            return
        error = done.exception()
        if error is None:
            held.sending = None
            held.state = sending.taken.state
            self._follow(held, sending.taken)
        elif isinstance(error, StateUnavailable):
            if sending.tries == _RETRIES_UNSAID:
                _log.warning("run %s waits for the state: %s", held.run_id, error.message)
            wait_s = min(_RETRY_FIRST_S * 2 ** (sending.tries - 1), _RETRY_LAST_S)
            self._loop.post_in(wait_s, lambda: self._send(held, sending) if held.sending is sending else None)
        elif isinstance(error, Fenced):
            self._fenced(held.shard)
        elif isinstance(error, SequenceConflict):
            self._again(held, sending)
        elif isinstance(error, HistoryWentBack):
            held.sending = None
            refuse([asked for asked, _ in sending.taken.told], error)
            self._went_back(held.shard)
        else:
            held.sending = None
            self._park(held, str(error))

    def _again(self, held: Held, sending: Sending) -> None:
        """The run is not as it was believed: read it, then decide anew on what was asked."""
        try:
            self._read(held)
        except StateUnavailable:
            self._loop.post_in(_RETRY_FIRST_S, lambda: self._again(held, sending))
            return
        held.sending = None
        held.asked.extendleft(reversed([asked for asked, _ in sending.taken.told]))
        self._turn(held)

    def _follow(self, held: Held, taken: Taken) -> None:
        """What a turn came to is in the store: answer, tell, stop, begin."""
        state = held.state
        for each, refused in taken.told:
            if refused is not None:
                refuse([each], refused)
            elif each.reply is not None and state is not None:
                each.reply.set_result(state)
        if state is None:
            self._let_go(held)
            return
        held.stop(taken.stop)
        for work in taken.begin:
            self._begin(held, state, work)
        if taken.events:
            self._went_on(held, state, taken)
        if held.asked or (held.workers is None and held.workers_of is not None):
            self._turn(held)
        self._wake(held, state, taken.at)
        self._let_go(held)

    def _went_on(self, held: Held, state: RunState, taken: Taken) -> None:
        for listener in (*self._ears, *held.listeners):
            listener(state, taken.events)
        if state.ended is not None:
            self._children.ended(state)
        if state.sequence - held.snapshot_at >= journal.SNAPSHOT_EVERY:
            held.snapshot_at = state.sequence
            with suppress(StateUnavailable):  # only a cache
                journal.keep_snapshot(self.store, state)

    def _wake(self, held: Held, state: RunState, seen: datetime) -> None:
        """Come back when time does something to the run."""
        due = journal.next_due(state, seen)
        if due == held.wake_at or not held.attended or held.leaving:
            return
        held.wake_at = due
        if due is not None:
            self._loop.post_in((due - self._clock()).total_seconds(), lambda: self._time_passed(held, due))

    def _time_passed(self, held: Held, due: datetime) -> None:
        if self._runs.get(held.run_id) is held and held.wake_at == due:
            held.wake_at = None
            held.asked.append(Asked(TimePassed(at=max(due, self._clock()))))
            self._turn(held)

    def _look(self, run_id: str) -> None:
        """Have the run look at what ought to go on; from any thread."""
        self._loop.post(lambda: self._turn(self._runs[run_id]) if run_id in self._runs else None)

    # Work -----------------------------------------------------------------------------------------------------------

    def _begin(self, held: Held, state: RunState, work: Work) -> None:
        held.at_work[work.key] = work
        failpoint("before_effect")
        if isinstance(work, StartChild | StopChild):
            self._children.begin(held, work)
            return
        assert held.workers is not None
        held.workers.start(
            Job(
                work=work,
                state=state,
                tell=lambda command: self._loop.post(lambda: self._ask(held.run_id, Asked(command))),
                done=partial(self.reported, held, work.key),
            )
        )

    def reported(self, held: Held, key: str, command: Command | None) -> None:
        """Work with this key is over, with a report or without; from any thread."""
        self._loop.post(lambda: self._reported(held, key, command))

    def _reported(self, held: Held, key: str, command: Command | None) -> None:
        held.at_work.pop(key, None)
        if self._runs.get(held.run_id) is not held:
            return
        if command is not None:
            held.asked.append(Asked(command))
        self._turn(held)
        self._let_go(held)

    # Somebody else --------------------------------------------------------------------------------------------------

    def _fenced(self, shard: int) -> None:
        """Drop everything about the shard; whoever owns it now goes on."""
        _log.warning("shard %d was taken over by somebody else", shard)
        self._leases.lost(shard)
        error = Fenced(f"shard {shard} was taken over by another owner", hint="it goes on with the runs")
        for held in [each for each in self._runs.values() if each.shard == shard]:
            del self._runs[held.run_id]
            held.stop(held.at_work)
            waiting = [*held.asked, *([asked for asked, _ in held.sending.taken.told] if held.sending else [])]
            refuse(waiting, error)
            held.parked = self._given_up[held.run_id] = error.message
            for left in held.leaving:
                left.set_result(None)
            for listener in held.listeners:
                if held.state is not None:
                    listener(held.state, [])

    def _went_back(self, shard: int) -> None:
        """The store has lost events that it had acknowledged: a new lease, and a person for the runs that lost some."""
        self._leases.take(shard)
        for held in [each for each in self._runs.values() if each.shard == shard and each.sending is None]:
            known = held.sequence
            now = journal.load(self.store, held.run_id)
            if (now.sequence if now is not None else 0) < known:
                lost = known - (now.sequence if now is not None else 0)
                self._park(held, f"the store has lost its last {lost} events: find out which backup it came back from")
            else:
                held.state = now
                self._turn(held)
