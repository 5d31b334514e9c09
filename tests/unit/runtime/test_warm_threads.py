"""Work begins at once in a thread of its own, an idle one where there is one; idle threads end."""

from __future__ import annotations

import threading

from lakeray.runtime.durable.threads import WarmThreads
from tests.polling import eventually

WITHIN_S = 10


def names():
    return {thread.name for thread in threading.enumerate()}


def test_work_never_waits_for_other_work():
    threads, together = WarmThreads(), threading.Barrier(20)
    for number in range(20):
        threads.start(f"w{number}", lambda: together.wait(WITHIN_S))
    eventually(lambda: not names() & {f"w{number}" for number in range(20)}, WITHIN_S)
    assert not together.broken


def test_an_idle_thread_is_used_again_under_a_new_name():
    threads, seen = WarmThreads(), []
    for number in range(50):
        over = threading.Event()

        def work(over=over):
            seen.append((threading.get_ident(), threading.current_thread().name))
            over.set()

        threads.start(f"w{number}", work)
        assert over.wait(WITHIN_S)
        eventually(lambda: threads._free == 1, WITHIN_S, every_s=0.001)
    assert len({ident for ident, _ in seen}) == 1
    assert [name for _, name in seen] == [f"w{number}" for number in range(50)]


def test_idle_threads_end_and_work_that_comes_just_then_is_done():
    """The idle time is so short that threads end while work is handed to them, over and over."""
    threads, done = WarmThreads(idle_s=0.0005), threading.Semaphore(0)
    for _ in range(2000):
        threads.start("short", done.release)
        assert done.acquire(timeout=WITHIN_S)
    eventually(lambda: threads._free == 0, WITHIN_S)
