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
from lakeray.runtime.durable.leases import LEASE_S, Leases
from lakeray.runtime.durable.limits import Limits
from lakeray.runtime.durable.loop import Loop
from lakeray.runtime.durable.orphans import Orphans
from lakeray.runtime.durable.port import Job, WorkersOf, passage_of
from lakeray.runtime.durable.trouble import Trouble, parked
from lakeray.state import Appended, EventStore, shard_of
from lakeray.workflow.commands import AcceptRun, CancelRun, Command, ResumeRun, RetryRun, TerminateRun, TimePassed
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import StartChild, StopChild, Work, todo

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_BY_PEOPLE = (ResumeRun, RetryRun, CancelRun, TerminateRun)
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
        ttl_s: float = LEASE_S,
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
        self._runs: dict[str, Held] = {}
        self._held_back: set[str] = set()
        self._loop = Loop("lakeray-orchestrator", self._tick, poll_s)
        self._trouble = Trouble(
            store=store,
            leases=self._leases,
            runs=self._runs,
            clock=clock,
            inbox=self._inbox,
            turn=self._turn,
            let_go=self._let_go,
            later=self._loop.post_in,
        )
        self._orphans: Orphans | None = None
        if adopt is not None:
            self._orphans = Orphans(store, self._leases, self._runs, lambda run_id: self._drive(run_id, adopt, None))

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
        return self._trouble.given_up.get(run_id)

    # The loop -------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """What nobody tells: leases that run out, commands of other processes, orphans."""
        try:
            lost, forgotten = self._leases.renew()
            for shard in lost:
                self._trouble.fenced(shard)
            for shard in forgotten:
                self._trouble.went_back(shard)
            self._go_on()
            for run_id, asked in self._inbox.received(self._leases.shards):
                self._ask(run_id, asked)
            self.limits.look(lambda run_id: wanted(self._runs.get(run_id), self._clock()))
            if self._orphans is not None:
                self._orphans.look()
        except StateUnavailable as error:
            self._trouble.away(error)
        else:
            self._trouble.there()

    def _go_on(self) -> None:
        """Runs for which nothing was begun, as the lease had run out, while nobody came: it is sure again."""
        for run_id in [*self._held_back]:
            held = self._runs.get(run_id)
            if held is None:
                self._held_back.discard(run_id)
            elif held.sending is None and self._leases.sure(held.shard):
                self._held_back.discard(run_id)
                self._turn(held)

    # Runs -----------------------------------------------------------------------------------------------------------

    def _drive(self, run_id: str, workers_of: WorkersOf, listener: Listener | None) -> None:
        try:
            held = self._hold(run_id)
        except StateUnavailable as error:
            self._trouble.away(error, lambda: self._drive(run_id, workers_of, listener))
            return
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
            self._trouble.taken_up(held)
        except StateUnavailable:
            raise
        except StateError as error:
            self._trouble.park(held, error.message)

    def _ask(self, run_id: str, asked: Asked) -> None:
        try:
            held = self._hold(run_id)
        except StateUnavailable as error:
            self._trouble.away(error, lambda: self._ask(run_id, asked))
            return
        if held.parked is not None:
            self._ask_parked(held, held.parked, asked)
            return
        if self._adopt is not None and not held.attended:
            if held.state is not None:
                self._drive(run_id, self._adopt, None)
            elif isinstance(asked.command, AcceptRun):
                held.attended, held.workers_of = True, self._adopt
        held.asked.append(asked)
        self._turn(held)

    def _ask_parked(self, held: Held, why: str, asked: Asked) -> None:
        """A person's word ends the parking; anything else is refused."""
        if isinstance(asked.command, _BY_PEOPLE) and not held.leaving:
            self._trouble.settled(held)
            if held.attended and held.workers_of is not None:
                listeners: list[Listener | None] = [*held.listeners] or [None]
                for listener in listeners:
                    self._drive(held.run_id, held.workers_of, listener)
            self._ask(held.run_id, asked)
            return
        refuse([asked], parked(held.run_id, why))
        if asked.sent is not None:
            self._inbox.answer(asked.sent, parked(held.run_id, why))

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
            self._trouble.remember(held)
            for left in held.leaving:
                left.set_result(None)

    # Turns ----------------------------------------------------------------------------------------------------------

    def _turn(self, held: Held) -> None:
        """Decide on what was asked and on what ought to go on, unless an append is under way."""
        if held.sending is not None or held.parked is not None:
            return
        if self._wants_workers(held) and held.workers_of is not None and held.state is not None:
            held.workers = self.limits.around(held.workers_of(held.state), held.state)
        sure = self._leases.sure(held.shard)
        if not sure:
            self._held_back.add(held.run_id)
        may_begin = sure and not held.leaving
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

    def _wants_workers(self, held: Held) -> bool:
        """Whether there is work and nobody for it; a run that only waits never gets anybody."""
        if held.workers is not None or held.workers_of is None or held.state is None:
            return False
        return bool(todo(held.state, self._clock()))

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
        elif isinstance(error, StateUnavailable) and held.leaving:
            self._trouble.left_behind(held, error)
        elif isinstance(error, StateUnavailable):
            if sending.tries == _RETRIES_UNSAID:
                _log.warning("run %s waits for the state: %s", held.run_id, error.message)
            wait_s = min(_RETRY_FIRST_S * 2 ** (sending.tries - 1), _RETRY_LAST_S)
            self._loop.post_in(wait_s, lambda: self._send(held, sending) if held.sending is sending else None)
        elif isinstance(error, Fenced | HistoryWentBack):
            self._trouble.refused(held, error)
        elif isinstance(error, SequenceConflict):
            self._trouble.look_again(held)
        else:
            self._trouble.park(held, str(error))

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
        if held.asked or self._wants_workers(held):
            self._turn(held)
        self._wake(held, state, taken.at)
        self._let_go(held)

    def _went_on(self, held: Held, state: RunState, taken: Taken) -> None:
        for listener in (*ears(self.limits), *held.listeners):
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
        failpoint(f"before_{passage_of(work)}")
        if isinstance(work, StartChild | StopChild):
            self._children.begin(held, work)
            return
        assert held.workers is not None

        def tell(command: Command) -> None:
            self._loop.post(lambda: self._ask(held.run_id, Asked(command)))

        held.workers.start(Job(work=work, state=state, tell=tell, done=partial(self.reported, held, work.key)))

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
