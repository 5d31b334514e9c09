"""Six policies for runs that overlap, against a slow account of what each promises."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from lakeray.workflow.overlap import (
    MOST_WAITING,
    Cancel,
    Fire,
    Lane,
    Skip,
    Start,
    Terminate,
    ended,
    fired,
    share,
    unfinished,
)

AT = datetime(2025, 1, 1, tzinfo=UTC)
POLICIES = ["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]


def fire(key: str) -> Fire:
    return Fire(key=key, name="schedule", at=AT)


def played(policy: str, *moves: str):
    """What ``+a`` (a fire) and ``-a`` (the end of its run) do, each as a short word."""
    lane, told = Lane(), []
    for move in moves:
        if move[0] == "+":
            lane, actions = fired(lane, policy, fire(move[1:]))
        else:
            lane, actions = ended(lane, move[1:])
        told += [_short(action) for action in actions]
    return " ".join(told), lane


def _short(action) -> str:
    word = {Start: "start", Skip: "skip", Cancel: "cancel", Terminate: "terminate"}[type(action)]
    return f"{word}:{action.key if isinstance(action, Cancel | Terminate) else action.fire.key}"


@pytest.mark.parametrize(
    ("policy", "moves", "told"),
    [
        ("skip", "+a +b -a +c", "start:a skip:b start:c"),
        ("buffer_one", "+a +b +c -a -b", "start:a skip:c start:b"),
        ("buffer_all", "+a +b +c -a -b -c", "start:a start:b start:c"),
        ("cancel_other", "+a +b -a", "start:a cancel:a start:b"),
        ("cancel_other", "+a +b +c -a -c", "start:a cancel:a skip:b start:c"),
        ("cancel_other", "+a +b -a +c -b", "start:a cancel:a start:b cancel:b start:c"),
        ("terminate_other", "+a +b -a +c", "start:a terminate:a start:b terminate:b start:c"),
        ("terminate_other", "+a +b +c", "start:a terminate:a start:b terminate:b start:c"),
        ("allow_all", "+a +b -a +c", "start:a start:b start:c"),
    ],
)
def test_what_each_policy_does(policy, moves, told):
    assert played(policy, *moves.split())[0] == told


@pytest.mark.parametrize("policy", ["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"])
def test_a_fire_that_is_found_twice_is_one(policy):
    for moves in ("+a +a", "+a +b +b", "+a +b +a"):
        told, lane = played(policy, *moves.split())
        assert told.count("start:a") == 1
        assert told.count("start:b") + sum(item.key == "b" for item in lane.waiting) <= 1


def test_waiting_has_an_end_that_is_said():
    lane = Lane(running=(fire("a"),), waiting=tuple(fire(str(n)) for n in range(MOST_WAITING)))
    _, (action,) = fired(lane, "buffer_all", fire("z"))
    assert action == Skip(fire=fire("z"), reason=f"{MOST_WAITING} wait already")


def test_the_end_of_a_stranger_begins_nothing_that_waits_for_others():
    lane = Lane(running=(fire("a"),), waiting=(fire("b"),))
    assert ended(lane, "manual") == (lane, ())


class Account:
    """Keeps the books about a lane: what was fired, what became of it, what goes on."""

    def __init__(self, policy, told):
        self.policy, self.told = policy, told
        self.lane, self.count = Lane(), 0
        self.going, self.asked, self.begun, self.skipped = set(), set(), [], set()

    def fire(self):
        self.count += 1
        self.lane, actions = fired(self.lane, self.policy, fire(f"{self.count:03}"))
        self.take(actions)

    def end(self, key):
        self.going.discard(key)
        self.lane, actions = ended(self.lane, key)
        self.take(actions)

    def take(self, actions):
        for action in actions:
            if isinstance(action, Start):
                self.going.add(action.fire.key)
                self.begun.append(action.fire.key)
            elif isinstance(action, Skip):
                assert action.fire.key not in self.skipped, self.told
                self.skipped.add(action.fire.key)
            else:
                assert action.key in self.going, self.told
                assert action.key not in self.asked, self.told
                self.asked.add(action.key)

    def audit(self):
        waiting = [item.key for item in self.lane.waiting]
        every = [*self.begun, *self.skipped, *waiting]
        assert sorted(every) == [f"{n:03}" for n in range(1, self.count + 1)], self.told
        assert {item.key for item in self.lane.running} == self.going, self.told
        left = unfinished(self.lane)
        assert {action.fire.key for action in left if isinstance(action, Start)} == self.going, self.told
        ending = {action.key for action in left if isinstance(action, Cancel | Terminate)}
        assert ending == self.asked & self.going, f"{self.told}: whoever takes over does it again"
        assert not waiting or self.going, f"{self.told}: something waits for nothing"
        assert self.begun == sorted(self.begun), self.told
        most = {"buffer_one": 1, "cancel_other": 1, "buffer_all": self.count}.get(self.policy, 0)
        assert len(waiting) <= most, self.told
        if self.policy in ("skip", "buffer_one", "buffer_all", "cancel_other"):
            assert len(self.going) <= 1, self.told
        if self.policy in ("buffer_all", "allow_all", "terminate_other"):
            assert not self.skipped, self.told
        if self.policy == "terminate_other":
            assert len(self.going - self.asked) <= 1, self.told


def test_promises_hold_under_any_order_of_fires_and_ends():
    """Over random orders: one account for every fire, order kept, one at a time where the policy says so."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(2000):
        books = Account(chance.choice(POLICIES), f"seed {seed}")
        for _ in range(chance.randint(1, 25)):
            if books.going and chance.random() < 0.4:
                books.end(chance.choice(sorted(books.going)))
            else:
                books.fire()
            books.audit()


def test_chance_is_spread_evenly_and_repeats():
    drawn = [share(f"x/{n}") for n in range(4000)]
    assert drawn == [share(f"x/{n}") for n in range(4000)]
    assert all(0 <= value < 1 for value in drawn)
    assert [sum(k / 4 <= value < (k + 1) / 4 for value in drawn) // 100 for k in range(4)] == pytest.approx(
        [10] * 4, abs=1
    )


def test_a_policy_that_was_changed_while_something_waited_ends_well():
    lane, _ = fired(Lane(), "cancel_other", fire("a"))
    lane, _ = fired(lane, "cancel_other", fire("b"))
    lane, actions = fired(lane, "terminate_other", fire("c"))
    assert [_short(action) for action in actions] == ["skip:b", "terminate:a", "start:c"]
    lane, actions = ended(lane, "a")
    assert (actions, lane) == ((), Lane(running=(fire("c"),)))
