"""Never more work at once than pools and keys allow; who comes first is served first; a fenced holder holds nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.workflow import pools as p
from lakeray.workflow.definition import QueuePlan

START = datetime(2024, 1, 1, tzinfo=UTC)


def claim(holder: str, second: float = 0.0, *, owner: str = "o", epoch: int = 1, **plan: Any) -> p.Claim:
    asked = START + timedelta(seconds=second)
    shard = 1 if owner == "o2" else 0
    return p.claim(QueuePlan(**plan), holder=holder, asked_at=asked, owner=owner, epoch=epoch, shard=shard)


def asked(*claims: p.Claim, **sizes: int) -> p.Pools:
    pools = p.Pools(sizes=sizes)
    for each in claims:
        pools = p.ask(pools, each)
    return pools


def test_slots_go_to_the_highest_priority_then_to_the_oldest():
    pools = asked(claim("a", 2, pool="db"), claim("b", 1, pool="db"), claim("c", 3, pool="db", priority=5), db=2)
    pools, granted = p.grant(pools)
    assert granted == ["c", "b"]
    assert p.grant(pools) == (pools, [])
    assert p.grant(p.release(pools, "c"))[1] == ["a"]


def test_priority_is_worth_minutes_so_that_nobody_waits_for_ever():
    """A low claim is served before every high one that asked more minutes later than its priority is higher."""
    low = claim("low", 0, pool="db")
    high = [claim(f"high{minute}", 60 * minute, pool="db", priority=3) for minute in range(1, 6)]
    pools, order = asked(low, *high, db=1), []
    while pools.waiting:
        pools, granted = p.grant(pools)
        order += granted
        pools = p.release(pools, granted[0])
    assert order == ["high1", "high2", "high3", "low", "high4", "high5"]


def test_what_it_waits_for_is_said():
    pools, _ = p.grant(
        asked(claim("held", pool="db"), claim("a", 1, pool="db", slots=2), claim("b", 2, pool="db"), db=2)
    )
    assert p.waits_for(pools, "held") is None
    assert p.waits_for(pools, "a") == "waits for 2 of 2 slots of the pool db: 1 taken"
    assert p.waits_for(pools, "b") == "waits for 1 of 2 slots of the pool db: 1 taken, 1 before it"
    pools, _ = p.grant(asked(claim("held", key="orders"), claim("a", 1, key="orders")))
    assert p.waits_for(pools, "a") == "waits for others of the key orders: 1 at work, 1 allowed"


def test_nobody_overtakes_a_large_claim_of_the_same_pool():
    pools, _ = p.grant(asked(claim("held", pool="db"), db=2))
    pools = p.ask(p.ask(pools, claim("large", 1, pool="db", slots=2)), claim("small", 2, pool="db"))
    pools = p.ask(pools, claim("elsewhere", 3, pool="gpu"))
    assert p.grant(pools)[1] == ["elsewhere"]
    assert p.grant(p.release(pools, "held"))[1] == ["large", "elsewhere"]


def test_a_claim_for_more_than_there_is_gets_all_of_it():
    pools, granted = p.grant(asked(claim("a", pool="db", slots=9), claim("b", 1, pool="db"), db=4))
    assert granted == ["a"]
    assert p.grant(p.release(pools, "a"))[1] == ["b"]


def test_a_key_lets_so_many_at_once_and_those_of_other_keys_pass():
    pools = asked(claim("a", 0, key="orders"), claim("b", 1, key="orders"), claim("c", 2, key="customers"))
    pools, granted = p.grant(pools)
    assert granted == ["a", "c"]
    assert p.grant(p.release(pools, "a"))[1] == ["b"]


def test_asking_again_keeps_the_place_in_the_line():
    pools, _ = p.grant(asked(claim("held", pool="db"), claim("a", 1, pool="db"), claim("b", 2, pool="db"), db=1))
    pools = p.ask(pools, claim("a", 9, pool="db"))
    assert p.ask(pools, claim("held", 9, pool="db")).held["held"].asked_at == START
    assert p.grant(p.release(pools, "held"))[1] == ["a"]


def test_slots_of_a_lease_that_is_over_are_free_but_not_those_that_were_asked_for_anew():
    pools, _ = p.grant(asked(claim("a", pool="db"), claim("b", pool="db"), claim("c", 1, owner="o2", pool="db"), db=2))
    pools = p.ask(pools, claim("a", 5, epoch=2, pool="db"))
    pools = p.freed(pools, {0: ("o", 2), 1: ("o2", 1)})
    assert set(pools.held) == {"a"}
    assert p.grant(pools)[1] == ["c"]
    assert p.freed(pools, {1: ("o2", 1)}).held == {}, "the lease ran out"


def test_whoever_lost_its_work_to_another_owner_takes_nothing_from_it():
    pools, _ = p.grant(asked(claim("a", pool="db"), db=1))
    pools = p.ask(pools, claim("a", 5, owner="o2", pool="db"))
    assert p.release(pools, "a", "o") == pools
    assert p.release(pools, "a", "o2").held == {}


def test_a_pool_without_a_size_has_no_end_and_a_smaller_size_takes_nothing_away():
    pools, granted = p.grant(asked(*(claim(f"w{n}", n, pool="db") for n in range(50))))
    assert len(granted) == 50
    pools = p.sized(pools, {"db": 10})
    assert len(pools.held) == 50
    assert p.grant(p.ask(p.release(pools, "w0"), claim("late", pool="db")))[1] == []


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "grant", "release", "fence"]),
        st.integers(0, 9),
        st.sampled_from([None, "db", "gpu"]),
        st.integers(1, 3),
        st.sampled_from([None, "k1", "k2"]),
        st.integers(-1, 1),
        st.sampled_from(["o1", "o2"]),
    ),
    max_size=60,
)


@given(ACTS)
def test_never_more_than_there_is_and_whoever_can_have_it_gets_it(acts):
    pools, epochs = p.Pools(sizes={"db": 3, "gpu": 1}), {"o1": 1, "o2": 1}
    limit = 2
    for number, (act, who, pool, slots, key, priority, owner) in enumerate(acts):
        if act == "ask":
            plan = {"pool": pool, "slots": slots, "key": key, "limit": limit, "priority": priority}
            pools = p.ask(pools, claim(f"w{who}", number, owner=owner, epoch=epochs[owner], **plan))
        elif act == "release":
            pools = p.release(pools, f"w{who}")
        elif act == "fence":
            epochs[owner] += 1
            pools = p.freed(pools, {0: ("o1", epochs["o1"]), 1: ("o2", epochs["o2"])})
            assert all(each.epoch == epochs[owner] for each in pools.held.values() if each.owner == owner)
        else:
            pools, _ = p.grant(pools)
            assert p.grant(pools)[1] == [], "what could be given was given"
        for name, size in pools.sizes.items():
            used = [min(each.slots, size) for each in pools.held.values() if each.pool == name]
            assert sum(used) <= size
        for each in ("k1", "k2"):
            assert sum(held.key == each for held in pools.held.values()) <= limit
        assert not set(pools.held) & set(pools.waiting)
        assert p.decode_pools(p.encode_pools(pools)) == pools
    while pools.waiting:
        for holder in list(pools.held):
            pools = p.release(pools, holder)
        pools, granted = p.grant(pools)
        assert granted, "somebody waits for what nobody has"


def test_what_is_no_pools_is_refused():
    with pytest.raises(ValueError, match="no pools"):
        p.decode_pools(b"7")
    assert p.register("acme") == "pools/acme"
