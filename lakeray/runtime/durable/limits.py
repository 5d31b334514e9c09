"""Who may begin: pools, concurrency keys and circuit breakers, shared by all orchestrators of a store.

What a step asks for stands in a register of its tenant, what it depends on in one a dependency; all owners compare and
set them. What makes this safe against deaths:

- A slot belongs to the lease of its run's shard. Once that is over, or somebody else has the shard, whoever looks next
  gives the slot away. A lease that ran out unnoticed may so let one too many work for a moment: what must not happen
  twice at once needs a lock of its own.
- Slots are asked for before the history says that work began, and given back when the work is over, whatever the
  history says of it: a run that waits, for a retry, say, holds none.
- What a process asked for is asked for anew at every look, so that a lost reply changes nothing.

An attempt before an open breaker is put off, which the history says; one that waits for a slot stays due, and is
looked at again whenever something here ends, and at every tick.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from lakeray.errors import StateError, StateFormat, StateUnavailable
from lakeray.observability import runs
from lakeray.runtime.durable.exchange import exchange
from lakeray.runtime.durable.port import Job, Workers
from lakeray.state import EventStore, shard_of
from lakeray.workflow import breaker as b
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow import pools as p
from lakeray.workflow.definition import BreakerPlan
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import RunAttempt, RunChunk, Work, attempt_key

_log = logging.getLogger(__name__)
Attempt = RunAttempt | RunChunk


@dataclass(eq=False)
class _Ours:
    """A claim of a run that is held here. ``looks`` counts the ticks at which it still waited."""

    claim: p.Claim
    tenant: str
    run_id: str
    step: str
    sizes: Mapping[str, int]
    granted: bool = False
    begun: bool = False
    looks: int = 0


class Limits:
    """The claims of one owner. ``epoch`` is that of a shard's lease (0: not held), ``tell`` reaches a run, ``wake`` has
    a run look at what ought to go on.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        owner: str,
        epoch: Callable[[int], int],
        clock: Callable[[], datetime],
        tell: Callable[[str, c.Command], object],
        wake: Callable[[str], None],
    ) -> None:
        self.store = store
        self._owner = owner
        self._epoch = epoch
        self._clock = clock
        self._tell = tell
        self._wake = wake
        self._lock = threading.Lock()
        self._ours: dict[str, _Ours] = {}
        self._over: dict[str, set[str]] = {}
        self._seen: dict[str, p.Pools] = {}
        self._troubled: dict[str, str] = {}
        self._put_off: dict[str, datetime] = {}
        self._trials: set[str] = set()
        self._counted: set[str] = set()

    def around(self, workers: Workers, state: RunState) -> Workers:
        """The workers of a run, who begin nothing that is not let in."""
        pools = state.definition.document.get("pools")
        return _Limited(workers, self, state.definition.tenant, pools if isinstance(pools, dict) else {})

    # Slots ----------------------------------------------------------------------------------------------------------

    def admit(self, work: Attempt, tenant: str, sizes: Mapping[str, int]) -> bool:
        """Whether the attempt may begin; where not, its run is woken, or the attempt put off. Never raises for a store
        that cannot be asked: nobody is let in then.
        """
        try:
            return self._slot(work, tenant, sizes) and self._let_through(work, tenant)
        except StateError as error:
            _log.warning("step %s of run %s waits: %s", work.step, work.run_id, error.message)
            return False

    def _slot(self, work: Attempt, tenant: str, sizes: Mapping[str, int]) -> bool:
        queue = work.plan.queue
        if queue is None:
            return True
        with self._lock:
            ours = self._ours.get(work.key)
            asked = ours is not None
            if ours is None:
                shard = shard_of(work.run_id, self.store.shards)
                claim = p.claim(queue, holder=work.key, asked_at=self._clock(), owner=self._owner, epoch=0, shard=shard)
                ours = self._ours[work.key] = _Ours(claim, tenant, work.run_id, work.step, sizes)
        if not asked:
            self._settle(tenant, asking=work.key)
        return ours.granted

    def begun(self, key: str) -> None:
        """The work is at its workers."""
        with self._lock:
            ours = self._ours.get(key)
            if ours is not None:
                ours.begun = True

    def over(self, key: str) -> None:
        """The work is over, or wanted no more; from any thread."""
        with self._lock:
            ours = self._ours.pop(key, None)
            if ours is None:
                return
            self._over.setdefault(ours.tenant, set()).add(key)
        try:
            self._settle(ours.tenant)
        except StateError as error:  # the next tick settles it
            _log.warning("a slot of %s is given back later: %s", key, error.message)

    def _settle(self, tenant: str, *, sizes: Mapping[str, int] | None = None, asking: str | None = None) -> None:
        """Bring the tenant's document up to date with all that is wanted and over here; wake those who got a slot.

        ``sizes`` replace those that are known. Whoever is ``asking`` right now is awake.
        """
        leased = {lease.shard: (lease.owner, lease.epoch) for lease in self.store.leases()}
        over: set[str] = set()

        def change(data: bytes | None) -> tuple[bytes | None, p.Pools]:
            with self._lock:
                ours = [each for each in self._ours.values() if each.tenant == tenant]
                over.update(self._over.get(tenant, ()))
            pools = p.freed(_pools(data), leased)
            for holder in over:
                pools = p.release(pools, holder, self._owner)
            pools = _sized(pools, ours, sizes or {})
            for each in ours:
                epoch = self._epoch(each.claim.shard)
                if epoch:
                    pools = p.ask(pools, replace(each.claim, epoch=epoch))
            pools, _ = p.grant(pools)
            return (data if data is not None and pools == _pools(data) else p.encode_pools(pools)), pools

        self._granted(tenant, exchange(self.store, p.register(tenant), change), over, asking)

    def _granted(self, tenant: str, pools: p.Pools, over: set[str], asking: str | None) -> None:
        woken: set[str] = set()
        with self._lock:
            self._seen[tenant] = pools
            self._over[tenant] = self._over.get(tenant, set()) - over
            for key, ours in self._ours.items():
                held = pools.held.get(key)
                if ours.tenant == tenant and not ours.granted and held is not None and held.owner == self._owner:
                    ours.granted = True
                    woken.update([ours.run_id] if key != asking else ())
        for run_id in woken:
            self._wake(run_id)

    def look(self, wanted: Callable[[str], Collection[str]]) -> None:
        """What waits here, or is owed to the store: ``wanted`` names the keys of all that a run wants done now.

        A tenant whose pools cannot be read waits, which is said once; the others go on. Raises StateUnavailable.
        """
        with self._lock:
            waiting = {key: ours for key, ours in self._ours.items() if not ours.begun}
            tenants = {ours.tenant for ours in waiting.values()} | {name for name, keys in self._over.items() if keys}
            self._put_off = {key: until for key, until in self._put_off.items() if until > self._clock()}
        for key, ours in waiting.items():
            ours.looks += 1
            if key not in wanted(ours.run_id):
                self.over(key)
            elif ours.granted:
                self._wake(ours.run_id)
            elif ours.looks == 1:
                reason = p.waits_for(self._seen.get(ours.tenant, p.Pools()), key)
                runs.record(logging.INFO, "step in line", run=ours.run_id, step=ours.step, reason=reason)
        for tenant in tenants:
            try:
                self._settle(tenant)
                self._troubled.pop(tenant, None)
            except StateUnavailable:
                raise
            except StateError as error:
                if self._troubled.get(tenant) != error.message:
                    _log.error("steps of tenant %s that need slots wait: %s", tenant, error)
                self._troubled[tenant] = error.message

    def waits(self, run_id: str) -> list[tuple[str, str]]:
        """The run's steps that have waited for a slot for longer than a tick, each with what it waits for."""
        with self._lock:
            mine = {key: ours for key, ours in self._ours.items() if ours.run_id == run_id and ours.looks}
            told = [(ours.step, p.waits_for(self._seen.get(ours.tenant, p.Pools()), key)) for key, ours in mine.items()]
        return [(step, said) for step, said in told if said is not None]

    # Breakers -------------------------------------------------------------------------------------------------------

    def _let_through(self, work: Attempt, tenant: str) -> bool:
        plan, now = work.plan.breaker, self._clock()
        if plan is None:
            return True
        if now < self._put_off.get(work.key, now):
            return False

        def change(data: bytes | None) -> tuple[bytes | None, b.Admission]:
            asked = b.admit(_breaker(data), plan, work.key, now)
            return _kept(data, asked.breaker), asked

        asked = exchange(self.store, b.register(tenant, plan.dependency), change)
        if asked.allowed:
            if asked.breaker.trial == work.key:
                self._trials.add(work.key)
            return True
        assert asked.ask_again_at is not None
        self._put_off[work.key] = asked.ask_again_at
        self.over(work.key)
        put_off = c.DeferAttempt(
            at=now,
            step=work.step,
            attempt=work.attempt,
            chunk=work.chunk if isinstance(work, RunChunk) else None,
            until=asked.ask_again_at,
            reason=b.why(asked.breaker, plan),
        )
        self._tell(work.run_id, put_off)
        return False

    def reported(self, work: Attempt, tenant: str, command: c.Command | None) -> None:
        """What the worker says at the end of an attempt, before the run hears it and asks for the next one."""
        plan = work.plan.breaker
        if plan is None:
            return
        try:
            if isinstance(command, c.ReportFailure) and b.counts(command.error, command.cause):
                self._counted.add(work.key)
                self._change(tenant, plan, lambda known: b.failed(known, plan, work.key, self._clock()))
            elif isinstance(command, c.ReportSuccess) and work.key in self._trials:
                self._trials.discard(work.key)
                self._change(tenant, plan, lambda known: b.succeeded(known, work.key))
        except StateError as error:
            _log.warning("the breaker %s is not told of %s: %s", plan.dependency, work.key, error.message)

    def heard(self, state: RunState, events: Sequence[e.Event]) -> None:
        """What has happened to a run, once the store knows it: timeouts, which no worker tells, count as well.

        A breaker that cannot be reached misses it.
        """
        tenant = state.definition.tenant
        for event in events:
            try:
                if isinstance(event, e.RunAccepted):
                    sizes = event.definition.document.get("pools")
                    if isinstance(sizes, dict) and sizes:
                        self._settle(tenant, sizes=sizes)
                elif isinstance(event, e.AttemptFailed | e.MapChunkFailed):
                    self._failed(state, event, tenant)
                elif isinstance(event, e.StepReturned | e.StepSucceeded | e.MapChunkDone):
                    self._succeeded(state, event, tenant)
            except StateError as error:
                _log.warning("a limit of run %s is not told of an event: %s", state.run_id, error.message)

    def _failed(self, state: RunState, event: e.AttemptFailed | e.MapChunkFailed, tenant: str) -> None:
        plan, key = state.plan(event.step).breaker, _key(state, event)
        self._trials.discard(key)
        told, counted = key in self._counted, plan is not None and b.counts(event.error, event.cause)
        self._counted.discard(key)
        if plan is not None and counted and not told:
            self._change(tenant, plan, lambda known: b.failed(known, plan, key, event.at))

    def _succeeded(
        self, state: RunState, event: e.StepReturned | e.StepSucceeded | e.MapChunkDone, tenant: str
    ) -> None:
        plan, key = state.plan(event.step).breaker, _key(state, event)
        if plan is not None and key in self._trials:
            self._trials.discard(key)
            self._change(tenant, plan, lambda known: b.succeeded(known, key))

    def _change(self, tenant: str, plan: BreakerPlan, change: Callable[[b.Breaker], b.Breaker]) -> None:
        key = b.register(tenant, plan.dependency)
        exchange(self.store, key, lambda data: (_kept(data, change(_breaker(data))), None))


@dataclass(frozen=True, eq=False)
class _Limited:
    """Keeps the contract of ``Workers`` for those behind it."""

    workers: Workers
    limits: Limits
    tenant: str
    sizes: Mapping[str, int] = field(default_factory=dict)

    def room(self, work: Work, before: Sequence[Work]) -> bool:
        """See ``Workers``; nothing is asked of a limit that could not begin for want of a worker."""
        if not self.workers.room(work, before):
            return False
        return not _asks(work) or self.limits.admit(work, self.tenant, self.sizes)  # type: ignore[arg-type]

    def start(self, job: Job) -> None:
        """See ``Workers``. Slots are given back before the end of the work is told."""
        key = job.work.key
        work = job.work
        if not isinstance(work, Attempt) or not _asks(work):
            self.workers.start(job)
            return

        def done(command: c.Command | None) -> None:
            self.limits.over(key)
            self.limits.reported(work, self.tenant, command)
            job.done(command)

        self.limits.begun(key)
        self.workers.start(Job(work=job.work, state=job.state, tell=job.tell, done=done))

    def stop(self, key: str) -> None:
        """See ``Workers``."""
        self.workers.stop(key)


def _asks(work: Work) -> bool:
    return isinstance(work, Attempt) and (work.plan.queue is not None or work.plan.breaker is not None)


def _key(
    state: RunState, event: e.AttemptFailed | e.MapChunkFailed | e.StepReturned | e.StepSucceeded | e.MapChunkDone
) -> str:
    return attempt_key(state.run_id, event.step, event.attempt, getattr(event, "chunk", None))


def _sized(pools: p.Pools, ours: Sequence[_Ours], sizes: Mapping[str, int]) -> p.Pools:
    """Pools that nobody has said the size of get it from the files that name them."""
    declared = {name: size for each in ours for name, size in each.sizes.items()}
    wanted = {**declared, **pools.sizes, **sizes}
    return pools if wanted == pools.sizes else p.sized(pools, wanted)


def _pools(data: bytes | None) -> p.Pools:
    try:
        return p.decode_pools(data) if data is not None else p.Pools()
    except ValueError as error:
        hint = "use the version of lakeray that wrote them, or a newer one"
        raise StateFormat(f"the pools in the state cannot be read: {error}", hint=hint) from error


def _breaker(data: bytes | None) -> b.Breaker:
    try:
        return b.decode_breaker(data) if data is not None else b.Breaker()
    except ValueError as error:
        hint = "`lakeray breakers reset` closes it"
        raise StateFormat(f"a circuit breaker in the state cannot be read: {error}", hint=hint) from error


def _kept(before: bytes | None, breaker: b.Breaker) -> bytes | None:
    """One that was never needed has no register."""
    return None if before is None and breaker == b.Breaker() else b.encode_breaker(breaker)
