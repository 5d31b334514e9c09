"""How long lakeray waits for an endpoint, and when it asks again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from lakeray.errors import AccessDenied, ObjectError, StoreUnavailable
from lakeray.objects.contact import FIRST_CONTACT_S, PATIENCE_S, Contact, Verdict


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


class Flaky:
    """A request that fails as it is told, then succeeds."""

    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.failures:
            raise RuntimeError(self.failures.pop(0))
        return "answer"


def judge(uri: str, error: BaseException) -> Verdict:
    kinds = {
        "down": Verdict(error=StoreUnavailable("down", uri=uri), answered=False, retry=True),
        "slow": Verdict(error=StoreUnavailable("slow", uri=uri), retry=True, throttled=True),
        "denied": Verdict(error=AccessDenied("denied", uri=uri)),
    }
    return kinds[str(error)]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_an_endpoint_that_never_answered_is_given_up_at_once(loop: asyncio.AbstractEventLoop) -> None:
    clock = Clock()
    with pytest.raises(StoreUnavailable):
        Contact(loop, judge, clock=clock, pause=clock.pause).call("u", Flaky(*["down"] * 1000))
    assert clock.now < FIRST_CONTACT_S


def test_one_that_answered_before_is_waited_for(loop: asyncio.AbstractEventLoop) -> None:
    clock = Clock()
    contact = Contact(loop, judge, clock=clock, pause=clock.pause)
    contact.call("u", Flaky())
    assert contact.call("u", Flaky(*["down"] * 8)) == "answer"
    assert clock.now > FIRST_CONTACT_S
    clock.now = 0
    with pytest.raises(StoreUnavailable):
        contact.call("u", Flaky(*["down"] * 1000))
    assert 0.5 * PATIENCE_S < clock.now <= PATIENCE_S


def test_one_that_asks_to_slow_down_is_given_time_from_the_first_word_on(loop: asyncio.AbstractEventLoop) -> None:
    clock = Clock()
    assert Contact(loop, judge, clock=clock, pause=clock.pause).call("u", Flaky(*["slow"] * 8)) == "answer"
    assert clock.now > FIRST_CONTACT_S


def test_a_final_answer_is_not_asked_for_twice(loop: asyncio.AbstractEventLoop) -> None:
    request = Flaky("denied", "denied")
    with pytest.raises(AccessDenied) as raised:
        Contact(loop, judge).call("u", request)
    assert request.tries == 1
    assert raised.value.uri == "u"


def test_what_nobody_expected_is_not_dressed_up(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(KeyError):
        Contact(loop, judge).call("u", Flaky("a defect"))
    assert issubclass(StoreUnavailable, ObjectError)
