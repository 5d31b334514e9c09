"""Who may work now, by slots, priorities and keys, as a value: never more at once than pools and keys allow.

One document a tenant, which orchestrators compare and set. Slots belong to the lease (shard, owner, epoch) under which
they were asked for: once that lease is over, or somebody else has the shard, ``freed`` gives them back.

Nobody waits for ever: a step of priority is worth a minute of waiting (``PRIORITY_S``), so that only those who ask
within so many minutes after can come before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from lakeray.workflow.definition import QueuePlan

PRIORITY_S = 60.0
"""Seconds of waiting that one step of priority is worth."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the work with the key ``holder`` wants, or has, since ``asked_at``, for the ``owner`` of a ``shard`` under
    an ``epoch``.
    """

    holder: str
    asked_at: datetime
    owner: str
    epoch: int
    shard: int = 0
    pool: str | None = None
    slots: int = 1
    priority: int = 0
    key: str | None = None
    limit: int = 1


class Pools(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``sizes`` in slots; who holds, who waits. A pool without a size has no end."""

    sizes: dict[str, int] = {}
    held: dict[str, Claim] = {}
    waiting: dict[str, Claim] = {}


def register(tenant: str) -> str:
    """The name of the document that holds a tenant's pools."""
    return f"pools/{tenant}"


def encode_pools(pools: Pools) -> bytes:
    """The document."""
    return msgspec.json.encode(pools)


def decode_pools(data: bytes) -> Pools:
    """What the document says. Raises ValueError for anything else."""
    try:
        return msgspec.json.decode(data, type=Pools)
    except msgspec.DecodeError as error:
        raise ValueError(f"these bytes are no pools: {error}") from error


def claim(plan: QueuePlan, *, holder: str, asked_at: datetime, owner: str, epoch: int, shard: int = 0) -> Claim:
    """The claim of work whose step has such a queue."""
    return Claim(
        holder=holder,
        asked_at=asked_at,
        owner=owner,
        epoch=epoch,
        shard=shard,
        pool=plan.pool,
        slots=plan.slots,
        priority=plan.priority,
        key=plan.key,
        limit=plan.limit,
    )


def sized(pools: Pools, sizes: dict[str, int]) -> Pools:
    """With these sizes; who holds more than a pool has now keeps it."""
    return replace(pools, sizes={**pools.sizes, **sizes})


def ask(pools: Pools, wanted: Claim) -> Pools:
    """Wait in line, or take over under a new epoch what the work holds, or its place. Asked again, nothing changes."""
    if wanted.holder in pools.held:
        held = pools.held[wanted.holder]
        return _put(pools, replace(held, owner=wanted.owner, epoch=wanted.epoch, shard=wanted.shard), held=True)
    before = pools.waiting.get(wanted.holder)
    return _put(pools, replace(wanted, asked_at=before.asked_at) if before else wanted, held=False)


def _put(pools: Pools, each: Claim, *, held: bool) -> Pools:
    if held:
        return replace(pools, held={**pools.held, each.holder: each})
    return replace(pools, waiting={**pools.waiting, each.holder: each})


def grant(pools: Pools) -> tuple[Pools, list[str]]:
    """Give what is free to those who wait, in the order of ``turn``; and who got it.

    Nobody overtakes one who waits for slots of the same pool, so that large claims get their turn; one who waits for a
    key lets others pass. A claim for more slots than its pool has is served when it can have all of them.
    """
    used, keys = _used(pools)
    held, waiting = dict(pools.held), dict(pools.waiting)
    closed: set[str] = set()
    granted: list[str] = []
    for each in sorted(pools.waiting.values(), key=turn):
        if each.key is not None and keys.get(each.key, 0) >= each.limit:
            continue
        if each.pool is not None and (each.pool in closed or not _fits(pools, each, used)):
            closed.add(each.pool)
            continue
        if each.pool is not None:
            used[each.pool] = used.get(each.pool, 0) + slots_of(pools, each)
        if each.key is not None:
            keys[each.key] = keys.get(each.key, 0) + 1
        held[each.holder] = waiting.pop(each.holder)
        granted.append(each.holder)
    return (replace(pools, held=held, waiting=waiting), granted) if granted else (pools, granted)


def turn(each: Claim) -> tuple[datetime, str]:
    """When it asked, as many minutes earlier as it has priority: the earliest is served first."""
    return each.asked_at - timedelta(seconds=PRIORITY_S * each.priority), each.holder


def slots_of(pools: Pools, each: Claim) -> int:
    """How many slots of its pool the claim takes: no more than there are."""
    size = pools.sizes.get(each.pool or "")
    return each.slots if size is None else min(each.slots, size)


def _fits(pools: Pools, each: Claim, used: dict[str, int]) -> bool:
    size = pools.sizes.get(each.pool or "")
    return size is None or used.get(each.pool or "", 0) + slots_of(pools, each) <= size


def _used(pools: Pools) -> tuple[dict[str, int], dict[str, int]]:
    used: dict[str, int] = {}
    keys: dict[str, int] = {}
    for each in pools.held.values():
        if each.pool is not None:
            used[each.pool] = used.get(each.pool, 0) + slots_of(pools, each)
        if each.key is not None:
            keys[each.key] = keys.get(each.key, 0) + 1
    return used, keys


def release(pools: Pools, holder: str, owner: str | None = None) -> Pools:
    """The work is over, or no longer wanted; what another than ``owner`` has taken over by now stays."""
    return _keep(pools, lambda each: each.holder != holder or owner not in (None, each.owner))


def freed(pools: Pools, leased: Mapping[int, tuple[str, int]]) -> Pools:
    """Without the claims of leases that are over: ``leased`` says who has each shard now, under which epoch."""
    return _keep(pools, lambda each: leased.get(each.shard) == (each.owner, each.epoch))


def _keep(pools: Pools, wanted: Callable[[Claim], bool]) -> Pools:
    held = {name: each for name, each in pools.held.items() if wanted(each)}
    waiting = {name: each for name, each in pools.waiting.items() if wanted(each)}
    return replace(pools, held=held, waiting=waiting)


def waits_for(pools: Pools, holder: str) -> str | None:
    """What the work with this key waits for, in words; None when it does not."""
    each = pools.waiting.get(holder)
    if each is None:
        return None
    used, keys = _used(pools)
    before = sum(turn(other) < turn(each) and other.pool == each.pool for other in pools.waiting.values())
    line = f", {before} before it" if before else ""
    if each.key is not None and keys.get(each.key, 0) >= each.limit:
        return f"waits for others of the key {each.key}: {keys[each.key]} at work, {each.limit} allowed{line}"
    taken, size = used.get(each.pool or "", 0), pools.sizes.get(each.pool or "")
    return f"waits for {slots_of(pools, each)} of {size} slots of the pool {each.pool}: {taken} taken{line}"
