"""Duties are looked at when they are due, whatever the others do."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

import pytest

from lakeray.errors import StateUnavailable
from lakeray.runtime.durable.duties import Duties


@dataclass
class Counted:
    """A duty that counts, or fails."""

    name: str
    every_s: float
    fails_with: Exception | None = None
    ticks: int = 0
    ticked: threading.Event = field(default_factory=threading.Event)

    def tick(self) -> None:
        self.ticks += 1
        self.ticked.set()
        if self.fails_with is not None:
            raise self.fails_with


def test_a_duty_is_looked_at_at_once_and_then_every_so_often() -> None:
    now = [100.0]
    often, seldom = Counted("often", 1.0), Counted("seldom", 10.0)
    duties = Duties([often, seldom], lambda: now[0])
    for passes in (0.0, 0.4, 0.6, 9.0):
        now[0] += passes
        duties.look()
    assert (often.ticks, seldom.ticks) == (3, 2)


def test_one_that_fails_is_asked_again_and_keeps_no_other_from_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    defect, away = Counted("defect", 1.0, ZeroDivisionError()), Counted("away", 1.0, StateUnavailable("no store"))
    sound = Counted("sound", 1.0)
    duties = Duties([defect, away, sound], lambda: now[0])
    with caplog.at_level(logging.WARNING):
        duties.look()
        now[0] += 1.0
        duties.look()
    assert (defect.ticks, away.ticks, sound.ticks) == (2, 2, 2)
    assert "a defect in defect" in caplog.text
    assert "away: no store" in caplog.text


@dataclass
class Slow(Counted):
    """A duty whose tick lasts until another one has ticked, too."""

    other: threading.Event = field(default_factory=threading.Event)
    met: bool = False
    closed_after: int | None = None

    def tick(self) -> None:
        super().tick()
        self.met = self.other.wait(5)

    def close(self) -> None:
        self.closed_after = self.ticks


def test_one_that_takes_long_keeps_no_other_from_its_turn() -> None:
    sound = Counted("sound", 3600.0)
    slow = Slow("slow", 3600.0, other=sound.ticked)
    duties = Duties([slow, sound])
    duties.open()
    assert slow.ticked.wait(10)
    duties.close()
    assert slow.met
    assert slow.closed_after == 1, "behind its last look"


def test_opened_they_tick_by_themselves_and_closed_no_more() -> None:
    duty = Counted("duty", 3600.0)
    duties = Duties([duty])
    duties.open()
    assert duty.ticked.wait(10)
    duties.close()
    assert duty.ticks == 1
