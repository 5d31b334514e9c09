"""Pools and circuit breakers of a state as people look at them, and set them right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import Field

from lakeray.errors import StateFormat
from lakeray.importer.recording.summary import Summary
from lakeray.runtime.durable.embedded import read_state
from lakeray.runtime.durable.exchange import exchange
from lakeray.state import EventStore
from lakeray.workflow import breaker as b
from lakeray.workflow import pools as p
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState

_POOLS, _BREAKERS = "pools/", "breakers/"


class WorkLine(Summary):
    """One piece of work that holds or wants slots. ``waits`` says what for; None: it has them."""

    work: str
    since: datetime
    slots: int
    priority: int = 0
    waits: str | None = None


class PoolLine(Summary):
    """A pool (``kind`` pool, ``slots`` of it in all) or a concurrency key (``slots`` is its limit), with who has
    ``taken`` how many and who waits, in the order of their turns.
    """

    tenant: str
    kind: Literal["pool", "key"]
    name: str
    slots: int | None
    taken: int
    held: list[WorkLine] = Field(default_factory=list)
    waiting: list[WorkLine] = Field(default_factory=list)


class BreakerLine(Summary):
    """A circuit breaker that has seen failures. ``trial`` is the work that is let through to try."""

    tenant: str
    dependency: str
    state: Literal["closed", "open", "half_open"]
    failures: int = 0
    opened_at: datetime | None = None
    trial: str | None = None


Pools = list[PoolLine]
Breakers = list[BreakerLine]


@dataclass(frozen=True, kw_only=True)
class PoolsOf:
    """The pools of a state; what processes that died had in them is free."""

    state: str

    def list(self, *, tenant: str | None = None) -> Pools:
        """Pools and keys with who holds them and who waits."""
        with read_state(self.state) as store:
            return [line for each, pools in _each(store, tenant) for line in _lines(each, pools)]

    def resize(self, pool: str, slots: int, *, tenant: str = "default") -> None:
        """Give the pool so many slots until a run whose file says otherwise is accepted; who has more keeps it.

        Raises Refused for a pool that no run has named yet.
        """

        def change(data: bytes | None) -> tuple[bytes | None, bool]:
            known = p.decode_pools(data) if data is not None else p.Pools()
            if pool not in known.sizes:
                return data, False
            return p.encode_pools(p.grant(p.sized(known, {pool: slots}))[0]), True

        with read_state(self.state) as store:
            if not exchange(store, p.register(tenant), change):
                known = [name for _, pools in _each(store, tenant) for name in pools.sizes]
                raise Refused(
                    f"no run of tenant {tenant} has named a pool {pool!r}",
                    hint=f"pools: {', '.join(known) or 'none'}; `pools` of a workflow file makes them",
                )


@dataclass(frozen=True, kw_only=True)
class BreakersOf:
    """The circuit breakers of a state."""

    state: str
    now: Callable[[], datetime]

    def list(self, *, tenant: str | None = None) -> Breakers:
        """Those that have seen failures."""
        with read_state(self.state) as store:
            found = []
            for key in store.keys(_BREAKERS):
                _, owner, dependency = key.split("/", 2)
                known = store.get(key)
                if known is not None and tenant in (None, owner):
                    found.append(_breaker_line(owner, dependency, b.decode_breaker(known.data)))
            return found

    def reset(self, dependency: str, *, tenant: str = "default") -> None:
        """Close the breaker and forget its failures. What it put off begins when it was said to, or earlier."""
        with read_state(self.state) as store:
            exchange(store, b.register(tenant, dependency), lambda _: (None, None))


def slots_waited_for(store: EventStore, state: RunState) -> list[tuple[str, str]]:
    """The steps of a run that wait for a slot, each with what it waits for."""
    pools = _live(store, p.register(state.definition.tenant)) if state.ended is None else p.Pools()
    found = []
    for holder in sorted(pools.waiting):
        run_id, step, *_ = holder.split("/")
        said = p.waits_for(pools, holder)
        if run_id == state.run_id and said is not None:
            found.append((step, said))
    return found


def _each(store: EventStore, tenant: str | None) -> list[tuple[str, p.Pools]]:
    found = []
    for key in store.keys(_POOLS):
        owner = key.removeprefix(_POOLS)
        if tenant in (None, owner):
            found.append((owner, _live(store, key)))
    return found


def _live(store: EventStore, key: str) -> p.Pools:
    known = store.get(key)
    if known is None:
        return p.Pools()
    try:
        pools = p.decode_pools(known.data)
    except ValueError as error:
        raise StateFormat(str(error), hint="use the version of lakeray that wrote them") from error
    return p.freed(pools, {lease.shard: (lease.owner, lease.epoch) for lease in store.leases()})


def _lines(tenant: str, pools: p.Pools) -> Pools:
    of_keys = {each.key: each.limit for each in (*pools.held.values(), *pools.waiting.values()) if each.key is not None}
    wanted: list[tuple[Literal["pool", "key"], str, int | None]] = [
        *(("pool", name, size) for name, size in sorted(pools.sizes.items())),
        *(("key", name, limit) for name, limit in sorted(of_keys.items())),
    ]
    return [_line(tenant, pools, kind, name, slots) for kind, name, slots in wanted]


def _line(tenant: str, pools: p.Pools, kind: Literal["pool", "key"], name: str, slots: int | None) -> PoolLine:
    held = [each for each in pools.held.values() if getattr(each, kind) == name]
    waiting = sorted((each for each in pools.waiting.values() if getattr(each, kind) == name), key=p.turn)
    return PoolLine(
        tenant=tenant,
        kind=kind,
        name=name,
        slots=slots,
        taken=sum(p.slots_of(pools, each) if kind == "pool" else 1 for each in held),
        held=[_work(pools, each) for each in held],
        waiting=[_work(pools, each) for each in waiting],
    )


def _work(pools: p.Pools, each: p.Claim) -> WorkLine:
    waits = p.waits_for(pools, each.holder)
    return WorkLine(work=each.holder, since=each.asked_at, slots=each.slots, priority=each.priority, waits=waits)


def _breaker_line(tenant: str, dependency: str, breaker: b.Breaker) -> BreakerLine:
    state: Literal["closed", "open", "half_open"] = "closed"
    if breaker.opened_at is not None:
        state = "open" if breaker.trial is None else "half_open"
    return BreakerLine(
        tenant=tenant,
        dependency=dependency,
        state=state,
        failures=len(breaker.failures),
        opened_at=breaker.opened_at,
        trial=breaker.trial,
    )
